"""Which files Claude Code may take a project's settings from (measured; versions differ, this is the union)."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import Final

POINTERS: Final = (".git", "commondir")
"""The files by which git's worktrees point to their main checkout."""

_POINTER: Final = b"gitdir:"
_NAMES: Final = (".claude/settings.json", ".claude/settings.local.json")


class OddPointer(ValueError):
    """A pointer that git would not have written so. The text follows the file's path."""

    def __init__(self) -> None:
        super().__init__("is not as git writes it, and Claude Code may read it in another way")


@dataclass(frozen=True, slots=True)
class Repository:
    """The repository round a working folder.

    `root` is the nearest folder, from the working folder upwards, with an entry `.git` of whatever kind. `main` is
    the main checkout where `root` is a worktree of it (`main_checkout`), else None.
    """

    root: str
    main: str | None = None


def project_files(folder: str, repository: Repository | None, user_folder: str | None) -> tuple[str, ...]:
    """Name every file that Claude Code in the working folder `folder` may read a project's settings from.

    All paths absolute and without links. `user_folder` is the user's own `~/.claude` (or `$CLAUDE_CONFIG_DIR`), None
    where that is not certain: its `settings.json` is the user's, also where the working folder is the home folder.
    """
    folders = [folder]
    if repository is not None:
        while folders[-1] != repository.root and folders[-1] != "/":
            folders.append(posixpath.dirname(folders[-1]))
        if repository.main is not None and repository.main not in folders:
            folders.append(repository.main)
    own = None if user_folder is None else posixpath.join(user_folder, "settings.json")
    return tuple(path for at in folders for name in _NAMES if (path := posixpath.join(at, name)) != own)


def main_checkout(root: str, dot_git: bytes, commondir: bytes) -> str | None:
    """Find the main checkout of the worktree in `root`; None where it is none. Raises `OddPointer`.

    `dot_git` is the content of the file `root/.git`, `commondir` of the file of that name in the folder that it
    points to (see `git_folder`); git's own format (gitrepository-layout(5)).
    """
    pointed = git_folder(root, dot_git)
    if pointed is None:
        return None
    shared = posixpath.normpath(posixpath.join(pointed, _path(commondir)))
    return posixpath.dirname(shared) if posixpath.basename(shared) == ".git" else None


def git_folder(root: str, dot_git: bytes) -> str | None:
    """Return the folder that a file `root/.git` points to; None where it is no pointer at all. Raises `OddPointer`."""
    if _POINTER not in dot_git.lower():
        return None
    if not dot_git.startswith(_POINTER + b" "):
        raise OddPointer
    return posixpath.normpath(posixpath.join(root, _path(dot_git.removeprefix(_POINTER + b" "))))


def _path(content: bytes) -> str:
    """Read the path that a pointer ends with, as git writes it.

    Measured: Claude Code 2.1.330 trims as JavaScript does (a byte-order mark goes, a control character stays), takes
    line ends into the path and makes U+FFFD of what is no UTF-8. A project that ships its `.git` could name one
    folder to it and another to us, so nothing is read that could be read in two ways.
    """
    try:
        path = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise OddPointer from None
    if not path or not path.isprintable() or path != path.strip():
        raise OddPointer
    return path
