"""Which files Claude Code may take a project's settings from (measured; versions differ, this is the union)."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import Final

_NAMES: Final = (".claude/settings.json", ".claude/settings.local.json")


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
    """Find the main checkout of the worktree in `root`; None where it is none, or its pointers cannot be understood.

    `dot_git` is the content of the file `root/.git`, `commondir` of the file of that name in the folder that it
    points to (see `git_folder`); git's own format (gitrepository-layout(5)).
    """
    pointed = git_folder(root, dot_git)
    common = _line(commondir)
    if pointed is None or common is None:
        return None
    shared = posixpath.normpath(posixpath.join(pointed, common))
    return posixpath.dirname(shared) if posixpath.basename(shared) == ".git" else None


def git_folder(root: str, dot_git: bytes) -> str | None:
    """Return the folder that a file `root/.git` points to; None where it is not such a pointer."""
    line = _line(dot_git)
    if line is None or not line.startswith("gitdir:"):
        return None
    return posixpath.normpath(posixpath.join(root, line.removeprefix("gitdir:").strip()))


def _line(content: bytes) -> str | None:
    try:
        text = content.decode().strip()
    except UnicodeDecodeError:
        return None
    return text if text and "\n" not in text and "\0" not in text else None
