"""What Claude Code would take from its settings and this shell's variables, were it started here.

Not seen: what `--settings` on its command line would say.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.config import CredentialConfig
from broker.doctor.scene import Scene
from broker.engine.destination import Scope, SettingsFile
from broker.integrations.claude_code import settings

HELPER: Final = "apiKeyHelper"
EXPORT: Final = "awsCredentialExport"
_OFF: Final = frozenset({"", "0", "false", "no", "off"})
_LOCAL: Final = "settings.local.json"


@dataclass(frozen=True, slots=True)
class Said:
    """The value of a variable, None where it is no text, and the file that sets it, empty for the environment."""

    text: str | None
    file: str = ""

    @property
    def where(self) -> str:
        """Name the place for a person."""
        return f"the env of {self.file}" if self.file else "your environment"


@dataclass(frozen=True, slots=True)
class Helper:
    """A helper of some settings file. `program` is its first word, for one of ours alone."""

    file: str
    scope: Scope
    is_ours: bool
    described: str
    program: str = ""
    credential: str | None = None


@dataclass(frozen=True, slots=True)
class Export:
    """What `awsCredentialExport` of a settings file runs; `program` and `credential` of ours alone."""

    file: str
    is_ours: bool
    described: str
    program: str = ""
    credential: str | None = None


class Claude:
    """One Claude Code that is yet to be started."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.files = _by_strength([file for file in scene.claude_files() if file.settings is not None])

    def in_settings(self, name: str) -> Said | None:
        """Say what the strongest settings file that names this variable sets it to."""
        return next((Said(file.env[name], file.path) for file in self.files if name in file.env), None)

    def variable(self, name: str) -> Said | None:
        """Say what this variable is in the end: settings go before the environment, and an empty one is none."""
        said = self.in_settings(name)
        if said is None and name in self._scene.env:
            said = Said(self._scene.env[name])
        return said if said is not None and said.text != "" else None

    def is_on(self, name: str) -> bool:
        """Whether this variable switches something on."""
        said = self.variable(name)
        return said is not None and (said.text or "1").strip().lower() not in _OFF

    def export(self) -> Export | None:
        """Say which command gives Claude Code its AWS keys; None where none does."""
        for file in self.files:
            if file.settings is not None and EXPORT in file.settings:
                return _export(file)
        return None

    def helpers(self) -> list[Helper]:
        """Return the helpers of all settings files, that of the strongest, which alone is used, first."""
        return [_helper(file) for file in self.files if file.settings is not None and HELPER in file.settings]

    def served(self) -> CredentialConfig | None:
        """Find the credential that the helper will ask for."""
        helper = next(iter(self.helpers()), None)
        if helper is None or not helper.is_ours:
            return None
        named = self.variable("BROKER_CREDENTIAL")
        return self._scene.credential(helper.credential or (named.text if named is not None else None))


def _by_strength(files: list[SettingsFile]) -> list[SettingsFile]:
    def of(scope: Scope) -> Iterator[SettingsFile]:
        return (file for file in files if file.scope is scope)

    project = sorted(of(Scope.PROJECT), key=lambda file: Path(file.path).name != _LOCAL)
    return [*reversed(list(of(Scope.MANAGED))), *project, *of(Scope.USER)]


def _helper(file: SettingsFile) -> Helper:
    line = file.settings[HELPER] if file.settings is not None else None
    if not settings.is_ours(line):
        return Helper(file.path, file.scope, is_ours=False, described=settings.described(line))
    program, *names = words(str(line))
    credential = names[0] if names else None
    return Helper(file.path, file.scope, is_ours=True, described=program, program=program, credential=credential)


def _export(file: SettingsFile) -> Export:
    line = file.settings[EXPORT] if file.settings is not None else None
    if not settings.is_ours(line):
        return Export(file.path, is_ours=False, described=settings.described(line))
    program, *arguments = words(str(line))
    credential = arguments[1] if len(arguments) > 1 else None
    return Export(file.path, is_ours=True, described=program, program=program, credential=credential)


def words(line: str) -> list[str]:
    """Split a command line."""
    try:
        return shlex.split(line)
    except ValueError:  # an odd quote, over which the shell will stumble too
        return line.split()
