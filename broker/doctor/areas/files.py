"""Who else could read or replace what the broker relies on: its state, its programs, the settings that name them."""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final

from broker.doctor.finding import Finding, error, fine, warning
from broker.doctor.scene import Scene
from broker.errors import ConfigError
from broker.integrations.claude_code import settings

_FILES_MAX: Final = 1000
_DEPTH_MAX: Final = 3
_SHOWN_MAX: Final = 3


def check(scene: Scene) -> list[Finding]:
    """Look at owners and modes; nothing is opened."""
    found = [*_state(scene), *_programs(scene), *_settings(scene), *_folders(scene)]
    return found or [fine("files", "nobody else can read or write them")]


def _state(scene: Scene) -> Iterator[Finding]:
    folder = scene.places.state
    with suppress(FileNotFoundError, NotADirectoryError):
        if not stat.S_ISDIR((found := folder.lstat()).st_mode) or found.st_uid != os.geteuid():
            what = f"{folder}: not a folder of yours"
            yield error("state-unsafe", what, "the daemon refuses to keep anything there", f"rm {_quoted(folder)}")
            return
        if found.st_mode & 0o077:
            what = f"{folder}: open to others (mode {stat.S_IMODE(found.st_mode):04o})"
            yield error("state-unsafe", what, "the daemon does not start", f"chmod 700 {_quoted(folder)}")
        elif not os.access(folder, os.W_OK | os.X_OK):  # also where its file system is mounted read-only
            mend = f"chmod 700 {_quoted(folder)}; or set BROKER_STATE_DIR to a folder that can be written"
            yield error("state-read-only", f"{folder}: cannot be written", "the daemon does not start", mend)
        yield from _within(folder)


def _within(folder: Path) -> Iterator[Finding]:
    strange, open_ = [], []
    for path in islice(_everything(folder, _DEPTH_MAX), _FILES_MAX):
        with suppress(FileNotFoundError):
            found = path.lstat()
            if found.st_uid != os.geteuid() or stat.S_ISLNK(found.st_mode):
                strange.append(path)
            elif found.st_mode & 0o077:
                open_.append(path)
    if strange:
        why = "whose they are can change what the broker reads"
        what = f"not plain files of yours: {_some(strange)}"
        yield error("state-foreign", what, why, f"see what they are, then: rm {_words(strange)}")
    if open_:
        why = "they say which credentials you have and who asked for them"
        yield warning("state-open", f"open to others: {_some(open_)}", why, f"chmod go= {_words(open_)}")


def _everything(folder: Path, depth: int) -> Iterator[Path]:
    with suppress(OSError):
        for path in sorted(folder.iterdir()):
            yield path
            if depth > 1 and stat.S_ISDIR(path.lstat().st_mode):
                yield from _everything(path, depth - 1)


def _programs(scene: Scene) -> Iterator[Finding]:
    for path in (scene.helper, Path(sys.executable), Path(sys.executable).with_name("broker")):
        with suppress(OSError):
            real = Path(os.path.realpath(path))
            if _others_write(real.stat()):
                why = "who can write it runs as you at the next ask"
                mend = (
                    f"chmod go-w {_quoted(real)}; where it belongs to somebody else, install the package for yourself"
                )
                yield error("program-writable", f"{real}: others can write it", why, mend)


def _settings(scene: Scene) -> Iterator[Finding]:
    """Whoever can write the user's settings names the program that Claude Code runs as its helper."""
    try:
        path = settings.location("user", Path(scene.folder), scene.env)
    except ConfigError:
        return
    for one, mode in ((path, "600"), (path.parent, "700")):
        with suppress(OSError):
            if _others_write(one.stat()):
                why = "who can write it decides which programs Claude Code runs, and where your key goes"
                yield error("settings-writable", f"{one}: others can write it", why, f"chmod {mode} {_quoted(one)}")


def _folders(scene: Scene) -> Iterator[Finding]:
    """In a folder that everybody can write, a file can be replaced, whatever its own mode is."""
    seen = set()
    for path in (scene.places.config, scene.places.state, scene.helper):
        for folder in path.parents:
            with suppress(OSError):
                mode = folder.stat().st_mode
                if mode & stat.S_IWOTH and not mode & stat.S_ISVTX and folder not in seen:
                    seen.add(folder)
                    why = f"anybody can put something else in the place of {path}"
                    yield error(
                        "folder-writable", f"{folder}: anybody can write it", why, f"chmod o-w {_quoted(folder)}"
                    )


def _others_write(found: os.stat_result) -> bool:
    """Whether others can; a group of the user's alone, as many systems make one for each, is nobody else."""
    if found.st_mode & stat.S_IWOTH or found.st_uid not in {0, os.geteuid()}:
        return True
    return bool(found.st_mode & stat.S_IWGRP) and not _is_private(found.st_gid)


def _is_private(gid: int) -> bool:
    try:
        group, name = grp.getgrgid(gid), pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return False
    return gid != 0 and group.gr_name == name and not set(group.gr_mem) - {name}


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def _words(paths: list[Path]) -> str:
    return " ".join(map(_quoted, paths[:_SHOWN_MAX]))


def _some(paths: list[Path]) -> str:
    more = len(paths) - _SHOWN_MAX
    return ", ".join(map(str, paths[:_SHOWN_MAX])) + (f" and {more} more" if more > 0 else "")
