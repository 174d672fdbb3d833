"""Reads the audit trail for people and scripts: the last lines, and new ones as they come."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from broker.errors import UnsafePath
from broker.storage.audit import files
from broker.storage.audit.chain import LINE_MAX

POLL_S: Final = 0.25
_PIECE: Final = 64 * 1024


def last_lines(folder: Path, count: int) -> list[bytes]:
    """Return the last `count` whole lines as they stand in the files. Raises `OSError`, `UnsafePath`."""
    lines: deque[bytes] = deque(maxlen=count)
    for path in files.present(folder):
        with suppress(FileNotFoundError):  # made an older file since we looked
            lines.extend(files.read(path).split(b"\n")[:-1])
    return list(lines)


class Follower:
    """Reads what is written from now on, through rotations and restarts of the daemon; to be closed in the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor = -1
        self._offset = 0
        self._open(files.current(folder))
        if self._descriptor >= 0:
            self._offset = os.fstat(self._descriptor).st_size

    def lines(self) -> Iterator[bytes]:
        """Yield line after line, waiting for them; never ends. Raises `OSError`, `UnsafePath`."""
        while True:
            yield from self.new()
            time.sleep(POLL_S)

    def new(self) -> Iterator[bytes]:
        """Yield the lines that came since the last call."""
        moved = self._has_moved()  # asked first: what is read then is all that the file will ever have
        yield from self._read()
        if moved:
            for path in self._younger():
                self._open(path)
                yield from self._read()

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _has_moved(self) -> bool:
        """Whether another file stands now where the one that we read stood."""
        try:
            there = files.current(self._folder).lstat()
        except FileNotFoundError:
            return False
        return self._descriptor < 0 or (there.st_dev, there.st_ino) != self._identity()

    def _identity(self) -> tuple[int, int]:
        ours = os.fstat(self._descriptor)
        return ours.st_dev, ours.st_ino

    def _younger(self) -> list[Path]:
        """List the files that came after the one that we read; only the present one, where ours is gone."""
        paths = files.present(self._folder)
        for position, path in enumerate(paths):
            with suppress(FileNotFoundError):
                found = path.lstat()
                if self._descriptor >= 0 and (found.st_dev, found.st_ino) == self._identity():
                    return paths[position + 1 :]
        return paths[-1:]

    def _open(self, path: Path) -> None:
        try:
            descriptor = files.open_own(path, os.O_RDONLY)
        except FileNotFoundError:
            return
        self.close()
        self._descriptor, self._offset = descriptor, 0

    def _read(self) -> Iterator[bytes]:
        """Yield whole lines only: the daemon takes back a part of one that it could not write to its end."""
        if self._descriptor < 0:
            return
        self._offset = min(self._offset, os.fstat(self._descriptor).st_size)
        while piece := os.pread(self._descriptor, _PIECE, self._offset):
            lines, found, _part = piece.rpartition(b"\n")
            if not found:
                if len(piece) > LINE_MAX:
                    raise UnsafePath(f"{files.current(self._folder)}: has lines too long for it; move it away")
                return
            self._offset += len(lines) + 1
            yield from lines.split(b"\n")
