"""What was seen on the disk, and whether the same is there now: told by what the system says of a file, for next to nothing.

Everything here may block for as long as a file system hangs.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from typing import Final

from broker.engine.destination.strict import SIZE_MAX

_QUICK: Final = os.access in os.supports_follow_symlinks
_ABSENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR})
_OPEN: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
"""Opening must not wait: for the other end of a FIFO, say, that a project has put there."""

Mark = tuple[int, ...] | None
"""What tells one state of a file from another, its mode first; None where there is none, (0, errno) where it is hidden."""


@dataclass(frozen=True, slots=True)
class Sight:
    """One thing that was looked at, and what was there. `whole`: its content counts, not only that it is there."""

    path: str
    follow: bool
    whole: bool
    mark: Mark

    def holds(self) -> bool:
        """Whether the same is there now."""
        if self.mark is None and _QUICK:  # most are: no exception to raise for each, of several on every ask
            return not _is_there(self.path, follow=self.follow)
        return _mark(self.path, follow=self.follow, whole=self.whole) == self.mark

    def read(self) -> bytes | str | None:
        """Read the file that was seen `whole`; None where it is another one, or changed, meanwhile.

        Else say why it cannot be, in words that follow the path.
        """
        try:
            descriptor = os.open(self.path, _OPEN if self.follow else _OPEN | os.O_NOFOLLOW)
        except OSError as error:
            if error.errno in _ABSENT or error.errno == errno.ELOOP:
                return None
            return f"cannot be read: {error.strerror}"
        try:
            return _read(descriptor, self.mark)
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        finally:
            os.close(descriptor)


def see(path: str, *, follow: bool, whole: bool) -> Sight:
    """Look at one thing."""
    return Sight(path, follow, whole, _mark(path, follow=follow, whole=whole))


def _read(descriptor: int, mark: Mark) -> bytes | None:
    if _whole(os.fstat(descriptor)) != mark:
        return None
    content = b""
    while piece := os.read(descriptor, SIZE_MAX):
        content += piece
        if len(content) > SIZE_MAX:
            return None
    return content if _whole(os.fstat(descriptor)) == mark else None


def _is_there(path: str, *, follow: bool) -> bool:
    try:
        return os.access(path, os.F_OK, follow_symlinks=follow)
    except ValueError:  # a NUL in the path
        return False


def _mark(path: str, *, follow: bool, whole: bool) -> Mark:
    try:
        found = os.stat(path) if follow else os.lstat(path)  # noqa: PTH116  # a dozen times an ask; a Path takes three times as long
    except OSError as error:
        return None if error.errno in _ABSENT else (0, error.errno or 0)
    except ValueError:  # a NUL in the path
        return None
    return _whole(found) if whole else (stat.S_IFMT(found.st_mode), found.st_dev, found.st_ino)


def _whole(found: os.stat_result) -> tuple[int, ...]:
    return (found.st_mode, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
