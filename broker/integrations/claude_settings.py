"""Claude Code's settings files as they lie on the disk: read once, and looked at again for next to nothing.

Everything here may block for as long as a file system hangs: the daemon calls it in threads (`service/claude_settings.py`),
except `Looked.holds` where `Looked.local` says that it answers at once.
"""

from __future__ import annotations

import os
import posixpath
import stat
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.engine.destination import Pins, Repository, Scope, SettingsFile, main_checkout, project_files
from broker.engine.destination.judgement import shown
from broker.engine.destination.places import OddPointer, git_folder
from broker.engine.destination.strict import SIZE_MAX
from broker.engine.policy import Found, Place
from broker.integrations.sights import Mark, Sight, see
from broker.platform.mounts import Mounts
from broker.storage import pins

_MANAGED: Final = "/Library/Application Support/ClaudeCode" if sys.platform == "darwin" else "/etc/claude-code"
_SETTINGS: Final = "settings.json"
_POINTER_MAX: Final = 4096 + 64
"""Bytes of git's pointer files, which hold one path."""
_MANAGED_MAX: Final = 64
_TRIES: Final = 3
_BY_HAND: Final = "broker allow accepts what it leads to now"


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """What a look at one place found. `trouble` says why the files are not to be relied on at all.

    `local`: everything that was looked at lies on file systems that do not hang. `pins_trouble`: the pins are broken.
    """

    found: Found
    sights: tuple[Sight, ...]
    trouble: str | None = None
    pins_trouble: str | None = None
    local: bool = False

    def holds(self) -> bool:
        """Whether everything is still as it was, in the order of looking: what lies behind a change is not touched."""
        return all(sight.holds() for sight in self.sights)


def look(place: Place, pins_path: str, mounts: Mounts | None = None) -> Looked:
    """Find and read every settings file that counts in this place."""
    eye = _Eye()
    trouble = eye.folders(place)
    allowed, pins_trouble = eye.pins(pins_path)
    files = () if trouble else eye.settings(place, allowed)
    local = mounts is not None and all(mounts.is_local(path) for path in eye.paths())
    return Looked(Found(files, allowed), tuple(eye.sights.values()), trouble, pins_trouble, local)


def can_be_allowed(file: SettingsFile) -> bool:
    """Whether a person's word for its present content helps: nobody can say anything for what cannot be read."""
    return bool(file.sha256) and (file.settings is not None or _BY_HAND in file.problem)


def text_of(path: str) -> str:
    """Read a settings file for a person's eyes; what cannot be read is said in its place."""
    content = _Eye().content(path, follow=True)
    if content is None:
        return "(it is gone)"
    return f"(it {content})" if isinstance(content, str) else content.decode(errors="replace")


class _Eye:
    """One look: notes everything that it sees."""

    def __init__(self) -> None:
        self.sights: dict[tuple[str, bool], Sight] = {}
        self._links: set[str] = set()
        self._odd: dict[str, str] = {}

    def paths(self) -> set[str]:
        """Name everything that was touched, and where links led."""
        touched = {sight.path for sight in self.sights.values() if not sight.path.startswith("/proc/")}
        return touched | {os.path.realpath(path) for path in self._links}

    def folders(self, place: Place) -> str | None:
        """Say why the place cannot be what it is said to be; None where it can.

        A caller in another mount namespace (a container) has other files under the same names.
        """
        for folder in place.folders:
            mark = self._note(folder, follow=True, whole=False)
            if mark is None or not stat.S_ISDIR(mark[0]):
                return (
                    f"{shown(folder)}: the working folder is not there (any more?), so its settings cannot be checked"
                )
        if place.view is not None:
            seen = self._note(place.view, follow=True, whole=False)
            if seen is not None and seen != self.sights[place.folders[0], True].mark:
                return f"{shown(place.folders[0])}: is another folder for Claude Code than for the daemon (a container?), so its settings cannot be checked"
        return None

    def settings(self, place: Place, allowed: Pins) -> tuple[SettingsFile, ...]:
        """Read all settings files, the ones of several that win last."""
        users = [posixpath.join(home, _SETTINGS) for home in place.homes if place.own in {None, home}]
        # Another may have been picked by a project, whose word a person allowed: what it says there is a project's too.
        picked = [posixpath.join(home, _SETTINGS) for home in place.homes if place.own not in {None, home}]
        own = _without_links(place.own)
        projects = dict.fromkeys(
            path for folder in place.folders for path in project_files(folder, self._repository(folder), own)
        )
        found: list[SettingsFile | None] = [
            SettingsFile.unreadable(path, Scope.PROJECT, problem) for path, problem in self._odd.items()
        ]
        found += [self._project(path, allowed) for path in dict.fromkeys((*projects, *picked))]
        found += [self._read(path, Scope.USER) for path in users if path not in projects]
        if place.flag is not None:
            found.append(self._read(place.flag, Scope.FLAG))
        found += [self._read(path, Scope.MANAGED) for path in self._managed()]
        return tuple(file for file in found if file is not None)

    def pins(self, path: str) -> tuple[frozenset[pins.Pin], str | None]:
        """Read what a person allowed."""
        content = self.content(path, follow=False, limit=pins.SIZE_MAX)
        if content is None:
            return frozenset(), None
        if isinstance(content, str):
            return frozenset(), pins.broken(path, content)
        try:
            return pins.parse(content), None
        except pins.NotPins as reason:
            return frozenset(), pins.broken(path, str(reason))

    # --- where ---------------------------------------------------------------------------------------------------

    def _repository(self, folder: str) -> Repository | None:
        """Find the root, upwards from `folder`.

        A link does not end the search, but counts where there is nothing higher up: Claude Code passes by one that
        leads nowhere, so a project could hide its root's settings behind it.
        """
        at, root = folder, None
        while True:
            mark = self._note(posixpath.join(at, ".git"), follow=False, whole=False)
            root = root if mark is None else at
            if at == "/" or (mark is not None and (stat.S_ISDIR(mark[0]) or stat.S_ISREG(mark[0]))):
                return None if root is None else Repository(root, self._main(root))
            at = posixpath.dirname(at)

    def _main(self, root: str) -> str | None:
        """Find the main checkout of a worktree, by git's pointer files; notes one that is odd."""
        at = posixpath.join(root, ".git")
        mark = self.sights[at, False].mark
        if mark is None or not stat.S_ISREG(mark[0]):
            return None
        try:
            pointer = self._pointer(at)
            folder = None if pointer is None else git_folder(root, pointer)
            if pointer is None or folder is None:
                return None
            at = posixpath.join(folder, "commondir")
            common = self._pointer(at)
            return None if common is None else main_checkout(root, pointer, common)
        except OddPointer as reason:
            self._odd[at] = str(reason)
            return None

    def _pointer(self, path: str) -> bytes | None:
        """Read one of git's pointers; None where there is none. Raises `OddPointer`."""
        content = self.content(path, follow=False, limit=_POINTER_MAX)
        if isinstance(content, str):  # a link, say, or larger than any pointer
            raise OddPointer
        return content

    def _managed(self) -> list[str]:
        names = []
        extra = posixpath.join(_MANAGED, "managed-settings.d")
        if self._note(extra, follow=True, whole=True) is not None:
            self._links.add(extra)
            with suppress(OSError):
                names = sorted(entry.name for entry in Path(extra).iterdir() if entry.suffix == ".json")[:_MANAGED_MAX]
        return [posixpath.join(_MANAGED, "managed-settings.json"), *(posixpath.join(extra, name) for name in names)]

    # --- what ----------------------------------------------------------------------------------------------------

    def _project(self, path: str, allowed: Pins) -> SettingsFile | None:
        """Read a project's file, which must be a plain one: a link can lead to a file that hangs, or changes unseen."""
        folder = posixpath.dirname(path)
        mark = self._note(folder, follow=False, whole=False)
        if mark is None:
            return None
        if stat.S_ISLNK(mark[0]):
            return self._linked(path, f"is behind a symbolic link, {folder}", allowed)
        mark = self._note(path, follow=False, whole=True)
        if mark is not None and stat.S_ISLNK(mark[0]):
            return self._linked(path, "is a symbolic link", allowed)
        return self._read(path, Scope.PROJECT)

    def _linked(self, path: str, problem: str, allowed: Pins) -> SettingsFile | None:
        """Stand for a file that a link leads to; a person may allow it by what it says now."""
        found = self._read(path, Scope.PROJECT, follow=True)
        if found is None or (path, found.sha256) in allowed:
            return found
        way_out = f" ({_BY_HAND})" if found.settings is not None else ""
        return SettingsFile(path, Scope.PROJECT, None, problem + way_out, found.sha256)

    def _read(self, path: str, scope: Scope, *, follow: bool | None = None) -> SettingsFile | None:
        content = self.content(path, follow=scope is not Scope.PROJECT if follow is None else follow)
        if content is None:
            return None
        if isinstance(content, str):
            return SettingsFile.unreadable(path, scope, content)
        return SettingsFile.read(path, scope, content)

    def content(self, path: str, *, follow: bool, limit: int = SIZE_MAX) -> bytes | str | None:
        """Read a file that does not change meanwhile; else say why not, in words that follow the path."""
        if follow:
            self._links.add(path)
        for _ in range(_TRIES):
            seen = self._see(path, follow=follow, whole=True)
            mark = seen.mark
            if mark is None:
                return None
            if mark[0] == 0:
                return f"cannot be read: {os.strerror(mark[1])}"
            if not stat.S_ISREG(mark[0]):
                return "is not a regular file"
            if mark[3] > limit:
                return f"is larger than {_size(limit)}"
            content = seen.read()
            if content is not None:
                return content
        return "changes while it is read"

    def _note(self, path: str, *, follow: bool, whole: bool) -> Mark:
        return self._see(path, follow=follow, whole=whole).mark

    def _see(self, path: str, *, follow: bool, whole: bool) -> Sight:
        seen = self.sights[path, follow] = see(path, follow=follow, whole=whole)
        return seen


def _without_links(user_folder: str | None) -> str | None:
    """Name the folder as the kernel names one where somebody works: a home folder is often reached by a link."""
    if user_folder is None:
        return None
    return posixpath.join(os.path.realpath(posixpath.dirname(user_folder)), posixpath.basename(user_folder))


def _size(limit: int) -> str:
    return f"{limit >> 20} MiB" if limit >= 1 << 20 else f"{limit} bytes"
