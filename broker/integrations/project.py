"""One project as a person decides about it: its Claude Code settings, and what the guard says of them.

Everything here may block for as long as the project's file system hangs.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.engine import policy
from broker.engine.destination import Refused, Scope, SettingsFile, Verdict, findings
from broker.engine.destination.endpoints import BASE_URLS
from broker.engine.policy import Shown
from broker.errors import BadRequest
from broker.integrations import claude_settings
from broker.model import Kind
from broker.storage.pins import Pin

_SETTINGS: Final = ".claude"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file from which Claude Code may take this project's settings, and all that the guard would refuse in it."""

    file: SettingsFile
    refused: Sequence[Refused]
    allowed: bool

    @property
    def pin(self) -> Pin | None:
        """Name its present content; None where allowing that would change nothing.

        Where requests may go is not a person's word about a file, but the config's about a credential.
        """
        steers = any(refused.key.removeprefix("env.") not in BASE_URLS for refused in self.refused)
        return (self.file.path, self.file.sha256) if steers and claude_settings.can_be_allowed(self.file) else None


def folder_of(path: Path) -> str:
    """Name the project folder that a person means, as Claude Code would in it. Raises `BadRequest` for none.

    A settings file, or the `.claude` that holds it, stands for its project.
    """
    real = Path(os.path.realpath(path))
    if not real.exists():
        raise BadRequest(f"{path}: there is no such folder")
    if real.is_file() and real.parent.name == _SETTINGS:
        real = real.parent
    if real.name == _SETTINGS:
        real = real.parent
    if not real.is_dir():
        raise BadRequest(f"{path}: expected a project's folder")
    return str(real)


def candidates(folder: str, pins_path: str, audience: Sequence[str]) -> list[Candidate]:
    """Read the project's settings files. `audience`: the base URLs that any credential may be sent to."""
    around = policy.surroundings(None, None, _starting(folder, os.environ), own_home())
    found = claude_settings.look(around.place, pins_path).found
    return [
        Candidate(file, findings(file, audience), (file.path, file.sha256) in found.pins)
        for file in found.files
        if file.scope is Scope.PROJECT
    ]


def preview(
    folder: str, environment: Mapping[str, str], audience: tuple[str, ...], kind: Kind, pins_path: str
) -> Verdict:
    """Say what the guard would say of a Claude Code started in `folder` with these variables and no arguments.

    `audience` is the credential's own, empty where it has none. Raises `broker.errors.Refused` where the guard does so
    before it looks at files.
    """
    around = policy.surroundings(None, None, _starting(folder, environment), own_home())
    looked = claude_settings.look(around.place, pins_path)
    if looked.trouble is not None:
        return Refused(folder, "", looked.trouble)
    return policy.verdict(around, looked.found, audience, kind)


def settings_files(folder: str, environment: Mapping[str, str], pins_path: str) -> tuple[SettingsFile, ...]:
    """Read all settings, also the user's and the administrator's, of a Claude Code started in `folder`."""
    around = policy.surroundings(None, None, _starting(folder, environment), own_home())
    return claude_settings.look(around.place, pins_path).found.files


def own_home() -> str:
    """Return the home folder of this process's user."""
    return os.environ.get("HOME") or pwd.getpwuid(os.geteuid()).pw_dir


def _starting(folder: str, environment: Mapping[str, str]) -> Shown:
    """Describe a Claude Code that is yet to start: no pid."""
    raw = "".join(f"{name}={value}\0" for name, value in environment.items())
    return Shown(0, folder, raw.encode(errors="surrogateescape"))
