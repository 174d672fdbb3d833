"""The open end of the audit trail: finds where the chain stands, appends to it, and starts a new file in time.

The first line of every file, and the first of every run and key, is an `opened` line. Under its MAC it says what
it continues (`after`, `prev`, `prev_key`), with which line everything that is kept begins (`oldest`), and the last
line that the encrypted store remembers (`known_seq`, `known_mac`): what verification needs to miss what was cut.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from broker import __version__
from broker.errors import UnsafePath
from broker.paths import private_folder
from broker.storage.audit import chain, files
from broker.storage.audit.chain import Facts, Key, Line, Link, Malformed

OPENED: Final = "opened"


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened. `at` is epoch seconds."""

    at: float
    facts: Facts


class Trail:
    """The end of the trail in `folder`, written under `key`.

    `known` is the last line that the encrypted store remembers, if any: numbers go on after it even where the file
    has lost it, so that the gap stays visible. `disturbed` says what another program did to the file. Every method may
    raise `OSError` or `UnsafePath`; what was asked for is then not written, and may be asked for again.
    """

    def __init__(self, folder: Path, key: Key, known: Link | None, *, file_max: int = files.FILE_MAX) -> None:
        self._folder = private_folder(folder)
        self._path = files.current(folder)
        self._key = key
        self._known = known
        self._file_max = file_max
        self._descriptor = -1
        self._size = 0
        self._failed_write = False
        self._due = ""
        self.disturbed = ""
        self._link = Link()
        self._oldest = 1
        try:
            self._resume("the daemon started")
        except BaseException:
            self.close()
            raise

    @property
    def link(self) -> Link:
        """Where the chain stands."""
        return replace(self._link, oldest=self._oldest)

    def append(self, entries: Sequence[Entry]) -> None:
        """Write these lines, in one write where they fit into the present file."""
        if reason := self._disturbed():
            self.disturbed = reason
            self._start_file(reason)
        elif self._due:
            self._say_opened(self._due, self._link)  # it could not be written when it was due
        lines, link = self._sealed(entries, self._link)
        if self._size + len(lines) > self._file_max and self._size > 0:
            self._start_file("the file was full")
            lines, link = self._sealed(entries, self._link)
        self._write(lines)
        self._link = link

    def rekey(self, key: Key, known: Link | None) -> None:
        """Write under another key from now on; the first line under it says which line it continues."""
        self._key, self._known = key, known
        self._say_opened("the key changed", self._link)

    def sync(self) -> None:
        """Return when everything written so far survives a loss of power."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Write no more."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    # --- opening ------------------------------------------------------------------------------------------------

    def _resume(self, reason: str) -> None:
        """Continue where the last run ended, however it ended."""
        last = next(_backwards(self._folder), None)
        self._oldest = self._remembered_oldest()
        after = last.link if last is not None else Link()
        if not os.path.lexists(self._path):
            self._create(reason, after)
            return
        self._open(os.O_RDWR)
        content = files.read(self._path)
        self._size = len(content)
        torn = len(content) - (content.rfind(b"\n") + 1)  # a write that a crash cut off: never a whole line
        if torn:
            self._failed_write = True
            self._size -= torn
            self._undo_failed_write()
        if self._size >= self._file_max:
            self._start_file(reason, after)
        else:
            self._say_opened(reason, after, torn)

    def _start_file(self, reason: str, after: Link | None = None) -> None:
        """Begin a new file that continues the chain; what stands in the old one's place becomes an older file."""
        if self._descriptor >= 0:
            with suppress(OSError):
                self.sync()
        if os.path.lexists(self._path):
            files.rotate(self._folder)
        self._create(reason, after or self._link)

    def _create(self, reason: str, after: Link) -> None:
        private_folder(self._folder)
        self._open(os.O_RDWR | os.O_CREAT | os.O_EXCL)
        self._size = 0
        self._say_opened(reason, after)

    def _open(self, flags: int) -> None:
        descriptor = files.open_own(self._path, flags | os.O_APPEND)
        self.close()
        self._descriptor = descriptor
        os.fchmod(descriptor, 0o600)

    def _say_opened(self, reason: str, after: Link, torn: int = 0) -> None:
        self._due = reason
        self._count_off()
        seq = max(after.seq, self._known.seq if self._known is not None else 0) + 1
        facts: Facts = {
            "event": OPENED,
            "v": chain.VERSION,
            "reason": reason,
            "pid": os.getpid(),
            "version": __version__,
            "after": after.seq,
            "prev": after.mac,
            "prev_key": after.key,
            "oldest": self._oldest,
            "known_seq": self._known.seq if self._known is not None else None,
            "known_mac": self._known.mac if self._known is not None else None,
            "torn": torn or None,
        }
        line, link = chain.seal(self._key, seq, after.mac, time.time(), facts)
        self._write(line)
        self._link = link
        self._due = ""
        with suppress(OSError):
            files.prune(self._folder)  # only now: until a line says that the trail begins later, it begins there

    def _count_off(self) -> None:
        """Let the trail begin later where there are more older files than are kept.

        Only then: were it to begin wherever the files begin, who deletes one would have our word for it.
        """
        older = files.older(self._folder)
        if len(older) > files.OLDER_MAX:
            self._oldest = max(self._oldest, next(filter(None, map(_first, reversed(older[: files.OLDER_MAX]))), 0))

    def _remembered_oldest(self) -> int:
        """Return the first line that an earlier run kept, by its own proven word or the store's."""
        known = self._known.oldest if self._known is not None else 1
        first = 1
        for line in _backwards(self._folder):
            if is_own_opening(line, self._key):
                return max(known, number(line, "oldest"))
            first = line.seq
        return known if self._known is not None else first

    # --- writing ------------------------------------------------------------------------------------------------

    def _disturbed(self) -> str:
        """Say what somebody else did to the file since we last wrote; empty: nothing."""
        try:
            there = self._path.lstat()
        except FileNotFoundError:
            return "the file was gone"
        ours = os.fstat(self._descriptor)
        if (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino):
            return "the file was replaced"
        self._undo_failed_write()
        return "" if os.fstat(self._descriptor).st_size == self._size else "the file was changed"

    def _write(self, lines: bytes) -> None:
        """Append all or, as far as the disk lets us, nothing."""
        rest = memoryview(lines)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            self._failed_write = True
            with suppress(OSError):
                self._undo_failed_write()
            raise
        self._size += len(lines)

    def _undo_failed_write(self) -> None:
        if self._failed_write:
            os.ftruncate(self._descriptor, self._size)
            self._failed_write = False

    def _sealed(self, entries: Sequence[Entry], link: Link) -> tuple[bytes, Link]:
        lines = bytearray()
        for entry in entries:
            line, link = chain.seal(self._key, link.seq + 1, link.mac, entry.at, entry.facts)
            lines += line
        return bytes(lines), link


def is_own_opening(line: Line, key: Key) -> bool:
    """Whether this is an `opened` line that who has `key` wrote."""
    return line.event == OPENED and line.key == key.id and line.is_proven(key, str(line.facts.get("prev")))


def number(line: Line, name: str) -> int:
    """Return a whole number that a line says; 0 where it says none."""
    value: Any = line.facts.get(name)
    return value if type(value) is int else 0


def _backwards(folder: Path) -> Iterator[Line]:
    """Yield the lines that are well-formed, the last one first."""
    for path in reversed(files.present(folder)):
        content = _content(path)
        end = len(content)
        while end > 0:  # one after the other: as many objects as a file has lines would stay in the daemon's memory
            start = content.rfind(b"\n", 0, end) + 1
            with suppress(Malformed):
                yield chain.parse(content[start:end])
            end = start - 1


def _first(path: Path) -> int:
    """Return the number of the first well-formed line of a file; 0 where there is none."""
    content = io.BytesIO(_content(path))
    for raw in content:
        with suppress(Malformed):
            return chain.parse(raw.rstrip(b"\n")).seq
    return 0


def _content(path: Path) -> bytes:
    """Read a file; nothing of one that cannot be read."""
    try:
        return files.read(path)
    except (OSError, UnsafePath):
        return b""
