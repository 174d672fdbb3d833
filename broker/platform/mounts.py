"""Which folders lie on file systems that answer at once, without touching any of them: a dead server's would hang."""

from __future__ import annotations

import os
import posixpath
import re
import select
from contextlib import suppress
from typing import Final

_LOCAL: Final = frozenset(
    {
        *("bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "jfs", "ntfs3", "reiserfs", "xfs", "zfs"),
        *("erofs", "exfat", "iso9660", "squashfs", "udf", "vfat"),
        *("overlay", "ramfs", "rootfs", "tmpfs"),
    }
)
"""Types whose files are on this machine's own disks or in its memory; of all others (NFS, FUSE, autofs) nothing is known."""

_ESCAPE: Final = re.compile(r"\\([0-7]{3})")
_READ_MAX: Final = 1 << 22


class Mounts:
    """The mounted file systems of this process, read anew whenever something was mounted or unmounted.

    Where the system has no such table (macOS) nothing is called local, which costs time and no safety.
    """

    def __init__(self, table: str = "/proc/self/mountinfo") -> None:
        self.generation = 0
        self._types: dict[str, str] = {}
        self._descriptor: int | None = None
        with suppress(OSError):
            self._descriptor = os.open(table, os.O_RDONLY | os.O_CLOEXEC)
        self._poll = select.poll()
        if self._descriptor is not None:
            self._poll.register(self._descriptor, select.POLLPRI)
            self._read()

    def refresh(self) -> int:
        """Notice what was mounted or unmounted; return a number that changes when something was."""
        if self._descriptor is not None and self._poll.poll(0):
            self.generation += 1
            self._read()
        return self.generation

    def is_local(self, path: str) -> bool:
        """Whether an absolute path without links lies on a local file system."""
        while path not in self._types:
            if path in {"/", ""}:
                return False
            path = posixpath.dirname(path)
        return self._types[path] in _LOCAL

    def close(self) -> None:
        """Let go of the table."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _read(self) -> None:
        """Read the table, whose lines come in the order of mounting: the last one at a place covers the others."""
        assert self._descriptor is not None  # noqa: S101  # for the type checker; the callers looked
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        content = b""
        while len(content) < _READ_MAX and (piece := os.read(self._descriptor, 1 << 16)):
            content += piece
        self._types = {}
        for line in os.fsdecode(content).splitlines():
            fields, _, rest = line.partition(" - ")  # proc_pid_mountinfo(5)
            with suppress(IndexError):
                self._types[_ESCAPE.sub(_character, fields.split(" ")[4])] = rest.split(" ")[0]


def _character(match: re.Match[str]) -> str:
    return chr(int(match[1], 8))
