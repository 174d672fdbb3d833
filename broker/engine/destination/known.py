"""The nouns of the audience guard: what is known about one Claude Code, and what follows from it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

from broker.engine.destination.names import family
from broker.engine.destination.strict import NotStrict, parse

Pins = AbstractSet[tuple[str, str]]
"""Files that a person allowed as they are: (path, SHA-256 of the content in hex)."""

Variables = Mapping[str, str | None]
"""Environment variables; None stands for "set, value unknown"."""


class Scope(StrEnum):
    """Whose settings a file holds, and so how far it is trusted."""

    PROJECT = "project"
    USER = "user"
    FLAG = "flag"
    MANAGED = "managed"


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """One settings file that is there. Make it once per content (`read`, `unreadable`) and keep it: that is the slow part.

    `settings` is None where the file could not be read strictly, and `problem` says why in words that follow the
    path ("is a symbolic link"). A file that does not exist is none at all: leave it out.
    `env` are the variables that it sets, in the words of an environment (None for what is no plain value), and
    `steering` those of them that a project may not set, with the family's title.
    """

    path: str
    scope: Scope
    settings: Mapping[str, object] | None
    problem: str = ""
    sha256: str = ""
    env: Variables = field(default_factory=dict)
    steering: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: str, scope: Scope, content: bytes) -> Self:
        """Parse the whole content of a file."""
        sha256 = hashlib.sha256(content).hexdigest()
        try:
            settings = parse(content)
        except NotStrict as reason:
            return cls(path, scope, None, str(reason), sha256)
        env = _variables(settings)
        steering = {name: title for name, text in env.items() if (title := family(name, text))}
        return cls(path, scope, settings, sha256=sha256, env=env, steering=steering)

    @classmethod
    def unreadable(cls, path: str, scope: Scope, problem: str) -> Self:
        """Stand for a file that could not even be read, or must not be: not a regular file, too large, too slow."""
        return cls(path, scope, None, problem)


def _variables(settings: Mapping[str, object]) -> Variables:
    env = settings.get("env")
    return {name: _as_text(value) for name, value in env.items()} if isinstance(env, dict) else {}


def _as_text(value: object) -> str | None:
    match value:
        case str():
            return value
        case bool():
            return str(value).lower()
        case int():
            return str(value)
    return None


@dataclass(frozen=True, slots=True)
class Known:
    """What is known about one Claude Code process.

    `folder` is its working folder, absolute and without links.
    `files`: every settings file that is there, in any order, but of several with scope FLAG or MANAGED a later one
    wins (`managed-settings.json`, then `managed-settings.d/*` sorted). `arguments` is its command line, empty where it
    cannot be read; where `flags(arguments).settings` is a path, that file belongs into `files` with scope FLAG.
    `live` are the variables that its helper sees now (`X-Broker-Env`), None for a caller that did not say;
    `initial` those it was started with (/proc/PID/environ), None where that cannot be read.
    """

    folder: str
    files: tuple[SettingsFile, ...] = ()
    live: Variables | None = None
    initial: Variables | None = None
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Allowed:
    """The token may go. `destinations` are the base URLs that requests may go to, all of them in the audience."""

    destinations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """The token must not go.

    `file` is a path, or says where else the setting came from ("the environment", "--settings"); `key` is the path
    inside it (`env.ANTHROPIC_BASE_URL`), empty where the whole file is at fault. `reason` is the complete line for
    the person, names both and what mends it; printable, never a value that may be secret.
    """

    file: str
    key: str
    reason: str


Verdict = Allowed | Refused
