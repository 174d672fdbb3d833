"""What several areas need to know, each found out once, by whoever asks first."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Final, Generic, TypeVar

from broker import config, paths
from broker.client import Client
from broker.config import Config, CredentialConfig
from broker.doctor import trial
from broker.doctor.stored import Stored, look
from broker.doctor.trial import Tried
from broker.engine.destination import SettingsFile
from broker.errors import BrokerError, ConfigError, Unreachable
from broker.integrations import installed_helper, project, systemd, systemd_units
from broker.sources import TYPES
from broker.storage import pins

T = TypeVar("T")
Status = Mapping[str, Any]

STATUS_WITHIN_S: Final = 3.0
SURVEYED_WITHIN_S: Final = 2.0
FETCHED_WITHIN_S: Final = 6.0
"""How long a source may take here."""

FETCHED_BY_S: Final = 8.5
"""When the last one is given up on: before the whole examination ends, so that no program of a source outlives it."""


class Once(Generic[T]):
    """A fact that is found out at the first call; whoever asks meanwhile waits for it."""

    def __init__(self, find: Callable[[], T]) -> None:
        self._find = find
        self._lock = threading.Lock()
        self._found: list[T] = []

    def __call__(self) -> T:
        """Return the fact."""
        with self._lock:
            if not self._found:
                self._found.append(self._find())
            return self._found[0]


@dataclass(frozen=True, slots=True)
class Places:
    """Where this shell's variables lead. Making it raises `ConfigError` where they lead nowhere."""

    config: Path
    state: Path
    socket: Path

    @classmethod
    def named_by(cls, env: Mapping[str, str]) -> Places:
        """Find them, or raise `ConfigError` with every problem."""
        found, problems = [], []
        for find in (paths.config_path, paths.state_dir, paths.socket_path):
            try:
                found.append(find(env))
            except ConfigError as error:
                problems += [problem for problem in error.problems if problem not in problems]
        if problems:
            raise ConfigError(problems)
        return cls(*found)


class Scene:
    """One examination: from which environment and folder, and what is there.

    Making it touches no file system; everything else may block, and is for the threads of the areas.
    """

    def __init__(self, env: Mapping[str, str], folder: str, helper: Path | None = None) -> None:
        self.env = env
        self.folder = folder
        self.places = Places.named_by(env)
        self.helper = helper if helper is not None else installed_helper.path()
        self.client = Client(self.places.socket, timeout_s=STATUS_WITHIN_S)
        self.now = time.time()
        self._began = time.monotonic()
        self.surveyed = threading.Event()
        self.config: Once[Config | ConfigError] = Once(self._config)
        self.answer: Once[Status | BrokerError] = Once(self._answer)
        self.stored: Once[Stored | ConfigError] = Once(self._stored)
        self.tried: Once[Mapping[str, Tried]] = Once(self._tried)
        self.claude_files: Once[Sequence[SettingsFile]] = Once(self._claude_files)

    @property
    def good_config(self) -> Config | None:
        """The config, where it is one."""
        found = self.config()
        return found if isinstance(found, Config) else None

    @property
    def status(self) -> Status | None:
        """What the daemon says of itself, where one answers."""
        found = self.answer()
        return None if isinstance(found, BrokerError) else found

    @property
    def has_units(self) -> bool:
        """Whether the user's own systemd units are set up."""
        try:
            return os.path.lexists(systemd_units.folder(self.env) / systemd.SERVICE)
        except ConfigError:
            return False

    @property
    def pins_path(self) -> str:
        """Where it is kept what a person allowed."""
        return str(self.places.state / pins.NAME)

    def credential(self, name: str | None) -> CredentialConfig | None:
        """Find a credential of the config (None: its default)."""
        found = self.good_config
        wanted = name or (found.default if found is not None else None)
        return found.credentials.get(wanted) if found is not None and wanted is not None else None

    def daemon_warnings(self, *prefixes: str) -> list[tuple[str, str]]:
        """Return the daemon's warnings (code, message) that begin so."""
        if self.status is None:
            return []
        found = ((str(warn["code"]), str(warn["message"])) for warn in self.status["daemon"]["warnings"])
        return [(code, message) for code, message in found if code.startswith(prefixes)]

    def _config(self) -> Config | ConfigError:
        try:
            return config.read(self.places.config, TYPES, self.env)
        except ConfigError as error:
            return error

    def _answer(self) -> Status | BrokerError:
        if self.has_units:
            # To connect starts the service anew: what the manager thinks of it must be seen before.
            self.surveyed.wait(SURVEYED_WITHIN_S)
        try:
            return _checked(self.client.status())
        except BrokerError as error:
            return error

    def _tried(self) -> Mapping[str, Tried]:
        if self.status is not None:
            return trial.through_daemon(self.client, self.status, FETCHED_WITHIN_S)
        settings, stored = self.good_config, self.stored()
        if settings is None or isinstance(stored, ConfigError):
            return {}
        left_s = FETCHED_BY_S - (time.monotonic() - self._began)
        return trial.directly(settings, stored, min(FETCHED_WITHIN_S, left_s))

    def _stored(self) -> Stored | ConfigError:
        try:
            persist = config.read_daemon(self.places.config, self.env).persist
        except ConfigError as error:
            return error
        return look(self.places.state, persist, self.env)

    def _claude_files(self) -> Sequence[SettingsFile]:
        return project.settings_files(self.folder, self.env, self.pins_path)


_DAEMON: Final = {"version": str, "pid": int, "locked": bool, "persist": str, "warnings": list}
_CREDENTIAL: Final = {
    "name": str,
    "source": str,
    "state": str,
    "lifetime_s": int | float | None,
    "last_error": str | None,
    "warnings": list,
}
_WARNING: Final = {"code": str, "message": str}


def _checked(answer: Status) -> Status:
    """Raise `Unreachable` for what is no answer of a daemon like this version's."""
    credentials = answer.get("credentials")
    if (
        not _has(answer.get("daemon"), _DAEMON)
        or not isinstance(credentials, list)
        or not all(_has(entry, _CREDENTIAL) for entry in credentials)
    ):
        raise Unreachable("the daemon's answer is not of this version; run: broker restart")
    return answer


def _has(table: object, keys: Mapping[str, type | UnionType]) -> bool:
    """Whether it is a table that has all of these keys, of these types, and warnings that are such."""
    if not isinstance(table, dict) or not all(key in table and isinstance(table[key], of) for key, of in keys.items()):
        return False
    return all(_has(warning, _WARNING) for warning in table.get("warnings", ()) if "warnings" in keys)
