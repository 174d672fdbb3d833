"""The files of the audit trail: `audit.jsonl`, and beside it the older ones, `audit.jsonl.1` being the youngest."""

from __future__ import annotations

import os
import re
import stat
from itertools import count
from pathlib import Path
from typing import Final

from broker.errors import UnsafePath

NAME: Final = "audit.jsonl"
FILE_MAX: Final = 2 << 20
"""A file that would grow beyond this many bytes becomes an older one."""

OLDER_MAX: Final = 3
"""Older files kept: 8 MiB in all, some 25,000 lines."""

_READ_MAX: Final = 2 * FILE_MAX
"""More than any file of ours has: what is larger was made so by somebody else."""

_OLDER: Final = re.compile(re.escape(NAME) + r"\.([1-9][0-9]{0,2})")


def current(folder: Path) -> Path:
    """Name the file that is written."""
    return folder / NAME


def older(folder: Path) -> list[Path]:
    """List the older files that are there, the youngest first. Raises `OSError`."""
    try:
        names = [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []
    numbers = sorted(int(found[1]) for name in names if (found := _OLDER.fullmatch(name)))
    return [folder / f"{NAME}.{number}" for number in numbers]


def present(folder: Path) -> list[Path]:
    """List all files of the trail that are there, the oldest first. Raises `OSError`."""
    newest = [current(folder)] if os.path.lexists(current(folder)) else []
    return [*reversed(older(folder)), *newest]


def open_own(path: Path, flags: int) -> int:
    """Open a file of the trail. Raises `OSError`, and `UnsafePath` where it is not a plain file of ours.

    A link would lead our lines, or our reader, to a file of somebody else's choice; a FIFO would hang us.
    """
    descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        os.close(descriptor)
        raise UnsafePath(f"{path}: not a plain file of yours; move it away")
    return descriptor


def read(path: Path) -> bytes:
    """Read a whole file of the trail. Raises `OSError`, and `UnsafePath` where it cannot be one."""
    descriptor = open_own(path, os.O_RDONLY)
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(_READ_MAX + 1)
    if len(content) > _READ_MAX:
        raise UnsafePath(f"{path}: larger than any file of the audit trail; move it away")
    return content


def rotate(folder: Path) -> None:
    """Make the current file the youngest older one. Deletes nothing, so that a crash at any point loses nothing."""
    taken = set(older(folder))
    free = next(number for number in count(1) if folder / f"{NAME}.{number}" not in taken)
    for number in range(free, 1, -1):
        (folder / f"{NAME}.{number - 1}").rename(folder / f"{NAME}.{number}")
    current(folder).rename(folder / f"{NAME}.1")


def prune(folder: Path) -> None:
    """Delete the files beyond those that are kept. Raises `OSError`."""
    for path in older(folder)[OLDER_MAX:]:
        path.unlink()
