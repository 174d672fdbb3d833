"""`cache.bin` on the disk: read with suspicion, replaced as a whole or not at all, set aside instead of lost.

All calls block, so none is for the event loop. Raises `OSError` as the system does, and `Unreadable`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from broker.storage.header import FILE_MAX, Reason, Unreadable

NAME: Final = "cache.bin"
SET_ASIDE: Final = f"{NAME}.set-aside-"
SET_ASIDE_MAX: Final = 5
"""So many files set aside are kept, the youngest."""

_UNFINISHED: Final = f"{NAME}.unfinished"
_FLAGS: Final = os.O_CLOEXEC | os.O_NOFOLLOW


def read(folder: Path) -> bytes | None:
    """Read the file; None where there is none. Raises `Unreadable` for one that somebody else could have put there."""
    try:
        # Without blocking: a FIFO in its place must not hold up the start.
        descriptor = os.open(folder / NAME, os.O_RDONLY | os.O_NONBLOCK | _FLAGS)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Unreadable(Reason.UNSAFE, "it is a link, and could lead to a file of somebody else's") from None
        if error.errno == errno.ENXIO:  # a socket
            raise Unreadable(Reason.UNSAFE, "it is not a regular file") from None
        raise
    try:
        _check(os.fstat(descriptor))
        return _read_all(descriptor)
    finally:
        os.close(descriptor)


def replace(folder: Path, data: bytes) -> None:
    """Put `data` in the file's place; when this returns it survives power loss. On any error the old file is whole."""
    new = folder / _UNFINISHED
    try:
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600)
        try:
            _write_all(descriptor, data)
            _sync(descriptor)
        finally:
            os.close(descriptor)
        new.rename(folder / NAME)
    except OSError:
        with suppress(OSError):
            new.unlink(missing_ok=True)  # on a full disk its space is needed
        raise
    _sync_folder(folder)


def clean(folder: Path) -> None:
    """Remove what a killed process left unfinished."""
    with suppress(OSError):  # said when the first write fails
        (folder / _UNFINISHED).unlink(missing_ok=True)


def set_aside(folder: Path, reason: Reason) -> Path:
    """Move the file out of the way, and forget the oldest of those moved before; return where it went."""
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    names = (f"{SET_ASIDE}{reason}-{moment}{suffix}" for suffix in ["", *(f"-{number}" for number in range(1, 1000))])
    target = next(path for path in map(folder.joinpath, names) if not path.is_symlink() and not path.exists())
    (folder / NAME).rename(target)
    older = sorted(folder.glob(f"{SET_ASIDE}*"), key=lambda path: path.lstat().st_ctime_ns, reverse=True)
    for path in older[SET_ASIDE_MAX:]:
        with suppress(OSError):  # a folder of that name is a person's own business
            path.unlink()
    return target


def _check(found: os.stat_result) -> None:
    """Refuse a file that somebody else could have written: an older one of ours, say, with a secret long revoked."""
    if not stat.S_ISREG(found.st_mode):
        raise Unreadable(Reason.UNSAFE, "it is not a regular file")
    if found.st_uid != os.geteuid():
        raise Unreadable(Reason.UNSAFE, f"it belongs to uid {found.st_uid}, not to you")
    if found.st_mode & 0o077:
        raise Unreadable(Reason.UNSAFE, f"it is open to others (mode {found.st_mode & 0o777:04o})")
    if found.st_size > FILE_MAX:
        raise Unreadable(Reason.CORRUPT, f"it is larger than the broker writes ({found.st_size} bytes)")


def _read_all(descriptor: int) -> bytes:
    pieces, left = [], FILE_MAX + 1
    while left > 0 and (piece := os.read(descriptor, min(left, 1 << 20))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _sync(descriptor: int) -> None:
    """Have it on the disk itself; macOS' fsync(2) stops at the drive's own cache."""
    full_sync = getattr(fcntl, "F_FULLFSYNC", None)
    if full_sync is None:
        os.fsync(descriptor)
    else:
        fcntl.fcntl(descriptor, full_sync)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
