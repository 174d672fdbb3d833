"""Which program a word means, and whether anybody else could put another in its place."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_LINKS_MAX: Final = 40
_MACOS_ADMIN: Final = 80
"""The group of those who may use sudo; Homebrew's folders belong to it."""


def resolve(word: str) -> str:
    """Find the program, on PATH where it is a bare name, and check it; give its absolute path.

    Raises `ValueError`, which quotes of the word nothing but what exists in the file system.
    """
    path = _find(word)
    try:
        for step, found in _way_to(Path(path)):
            _check(step, found)
        found = Path(path).stat()
    except OSError as error:
        raise ValueError(f"this program cannot be reached ({error.strerror})") from None
    if not stat.S_ISREG(found.st_mode) or not os.access(path, os.X_OK):
        raise ValueError("this is no executable file; name a program, or chmod +x it")
    return path


def _find(word: str) -> str:
    expanded = os.path.expanduser(word)  # noqa: PTH111  # Path.expanduser raises instead
    if "\0" in expanded or not expanded:
        raise ValueError("expected a program's name or absolute path")
    if expanded.startswith("/"):
        return os.path.normpath(expanded) if ".." not in expanded else expanded
    if "/" in expanded:
        # A relative one would be looked up in the folder the daemon happens to be in.
        raise ValueError("expected a program's name or absolute path, found a relative path")
    folders = [folder for folder in os.environ.get("PATH", "").split(":") if folder.startswith("/")]
    found = shutil.which(expanded, path=":".join(folders))
    if found is None:
        raise ValueError(f"there is no such program on PATH ({':'.join(folders) or 'empty'}); give its absolute path")
    return found


def _way_to(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Give every folder, link and file that the kernel passes on its way to `path`."""
    here, links = Path("/"), 0
    todo = list(reversed(path.parts[1:]))
    yield here, here.lstat()
    while todo:
        part = todo.pop()
        step = here.parent if part == ".." else here / part
        found = step.lstat()
        yield step, found
        if not stat.S_ISLNK(found.st_mode):
            here = step
            continue
        links += 1
        if links > _LINKS_MAX:
            raise OSError(0, "too many links")
        target = step.readlink()
        here = Path("/") if target.is_absolute() else here
        todo.extend(reversed(target.parts[1:] if target.is_absolute() else target.parts))


def _check(step: Path, found: os.stat_result) -> None:
    """Refuse what somebody else could change: they would choose the program that runs as us."""
    if found.st_uid not in {os.geteuid(), *_system_uids()}:
        raise ValueError(f"{step} belongs to uid {found.st_uid}, who could put another program there")
    if stat.S_ISLNK(found.st_mode):
        return  # a link's mode means nothing; its folder was checked
    if stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX:
        return  # sticky (/tmp, /nix/store): only an entry's owner can replace it, and that is checked next
    if found.st_mode & stat.S_IWOTH:
        raise ValueError(f"{step} can be written by everybody; run: chmod o-w {step}")
    if found.st_mode & stat.S_IWGRP and _is_shared(found.st_gid):
        raise ValueError(f"{step} can be written by others of group {found.st_gid}; run: chmod g-w {step}")


def _is_shared(gid: int) -> bool:
    """Whether a group has members that are neither root nor us (Debian's `staff` mostly has none)."""
    if gid == 0 or (sys.platform == "darwin" and gid == _MACOS_ADMIN):
        return False
    me = os.geteuid()
    users = pwd.getpwall()
    ours = {"root", *(user.pw_name for user in users if user.pw_uid == me)}
    try:
        listed = set(grp.getgrgid(gid).gr_mem)
    except KeyError:  # no such group: nobody knows who is in it
        return True
    return bool(listed - ours) or any(user.pw_gid == gid and user.pw_uid not in {0, me} for user in users)


def _system_uids() -> set[int]:
    """Root, by the number it has here: a user namespace that does not map it (a sandbox's) shows it as nobody."""
    try:
        rows = [line.split() for line in Path("/proc/self/uid_map").read_text().splitlines()]
        root_is_mapped = any(int(inside) == 0 for inside, _outside, _count in rows)
        return {0} if root_is_mapped else {0, int(Path("/proc/sys/kernel/overflowuid").read_text())}
    except (OSError, ValueError):
        return {0}
