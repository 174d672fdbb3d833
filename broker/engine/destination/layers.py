"""What a variable of Claude Code's may be in the end, when its layers of settings are put on each other.

Precedence (https://code.claude.com/docs/en/settings): managed settings, `--settings`, the project's local and shared file, the user's, the environment
it was started with. Versions of Claude Code differ in which project files they read, so the answer is every value
that the variable may have.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from broker.engine.destination.arguments import Flags, flags
from broker.engine.destination.known import Known, Scope, SettingsFile, Variables

ABSENT: Final = ""
"""The value of a variable that is not set; Claude Code takes an empty one for the same."""

FLAG: Final = "--settings"
LIVE: Final = "the environment of Claude Code"


@dataclass(frozen=True, slots=True)
class Value:
    """One value that a variable may have, None where it is set but unknown, and the file and key that say so."""

    text: str | None
    file: str = ""
    key: str = ""


class Layers:
    """The layers of one Claude Code, the strongest first."""

    def __init__(self, known: Known, files: Sequence[SettingsFile]) -> None:
        """Put the layers of `files` (those in use) on what else is known."""
        self._live = known.live or {}
        self._files = list(_layers(known, files))
        self._start = _Layer(LIVE, self._live if known.initial is None else known.initial, certain=True, prefix="")
        self._said = self._files if known.initial is None else [*self._files, self._start]

    def mention(self, name: str) -> bool:
        """Whether anybody says anything about the variable."""
        return name in self._live or any(name in layer.variables for layer in (*self._files, self._start))

    def values(self, name: str) -> list[Value]:
        """Return every value that the variable may have."""
        found = self._unexplained(name)
        for layer in (*self._files, self._start):
            if name in layer.variables:
                found.append(layer.value(name))
                if layer.certain:
                    return found
        return [*found, Value(ABSENT)]

    def vanished(self) -> Iterator[tuple[str, str | None]]:
        """Find the variables that Claude Code has now and no layer says: their file is gone, their effect is not.

        Of a session that started on a hostile branch, say, of which another one was checked out since. Nothing can
        be said where it is not known what it was started with.
        """
        if self._said is not self._files:
            yield from ((name, text) for name, text in self._live.items() if self._unexplained(name))

    def _unexplained(self, name: str) -> list[Value]:
        if name not in self._live:
            return []
        live = Value(self._live[name], LIVE, name)
        said = {layer.variables.get(name, ABSENT) for layer in self._said}
        return [] if live.text is not None and live.text in said else [live]


@dataclass(frozen=True, slots=True)
class _Layer:
    """`certain`: every version takes it up, so that what stands beneath does not count."""

    file: str
    variables: Variables
    certain: bool
    prefix: str = "env."

    def value(self, name: str) -> Value:
        return Value(self.variables[name], self.file, self.prefix + name)


def files_in_use(known: Known) -> list[SettingsFile]:
    """Return the settings that Claude Code takes up, by what its command line says; text in it is read here."""
    said = flags(known.arguments)
    files = [file for file in known.files if _in_use(file, said)]
    if said.settings is None:
        return files
    if said.is_text:
        text = said.settings.encode(errors="surrogateescape")
        return [*files, SettingsFile.read(FLAG, Scope.FLAG, text)]
    if not any(file.scope is Scope.FLAG for file in files):
        files.append(SettingsFile.unreadable(FLAG, Scope.FLAG, "names a file that is not there"))
    return files


def _in_use(file: SettingsFile, said: Flags) -> bool:
    if file.scope is Scope.PROJECT:
        return not said.ignores_projects and said.names("local" if _is_local(file) else "project")
    return file.scope is not Scope.USER or said.names("user")


def _layers(known: Known, files: Sequence[SettingsFile]) -> Iterator[_Layer]:
    said = flags(known.arguments)
    for scope in (Scope.MANAGED, Scope.FLAG):
        for file in reversed(files):
            if file.scope is scope:
                yield _Layer(file.path, file.env, certain=scope is Scope.MANAGED or not said.doubtful)
    project = [file for file in files if file.scope is Scope.PROJECT]
    # Those elsewhere may count, and may count more (a main checkout's local file): what is not sure comes first.
    for file in sorted(project, key=lambda file: (_folder(file) == known.folder, not _is_local(file))):
        yield _Layer(file.path, file.env, certain=_folder(file) == known.folder)
    users = [file for file in files if file.scope is Scope.USER]
    for file in users:  # two where they were moved meanwhile: either may count
        yield _Layer(file.path, file.env, certain=len(users) == 1)


def _is_local(file: SettingsFile) -> bool:
    return posixpath.basename(file.path) == "settings.local.json"


def _folder(file: SettingsFile) -> str:
    """Return the folder that holds a file's `.claude`."""
    return posixpath.dirname(posixpath.dirname(file.path))
