"""Whether a file is still what it was when a source last used it."""

from __future__ import annotations

import os
from collections.abc import Hashable
from pathlib import Path

_UNREADABLE = "unreadable"


class Inputs:
    """Remembers the version of one file; a missing one is a version too, so that its coming is noticed."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._noted: Hashable | None = None

    def note(self) -> None:
        """Remember the file as it is now; call it just before the file is used, so that no change is missed."""
        self._noted = self._version()

    def changed(self) -> bool:
        """Whether the file is another one, or has been written, since `note`; never before the first `note`."""
        return self._noted is not None and self._version() != self._noted

    def _version(self) -> Hashable:
        try:
            return version(Path(self._path).stat())
        except (OSError, ValueError):
            return _UNREADABLE


def version(found: os.stat_result) -> Hashable:
    """Give what changes whenever the file is written or replaced."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
