"""One TOML text into a `Config`, or into every problem that it has."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal, get_args

from broker.audience import BaseURL
from broker.config import endpoints, pools, references
from broker.config.file import read_text
from broker.config.structs import Config, CredentialConfig, DaemonConfig, SourceConfig
from broker.config.structure import Reader
from broker.config.syntax import load
from broker.config.wording import holds_secret, near, one_of, type_name, unknown_key
from broker.durations import Duration
from broker.errors import ConfigError
from broker.model import NAME, Timing
from broker.sources.interface import SourceType

Table = Mapping[str, Any]
Types = Mapping[str, SourceType]

_NO_CREDENTIAL: Final = "names no credential; run: broker setup claude-code; or add a table [credentials.NAME]"

_TEN_SECONDS: Final = Duration(10)
_MINUTE: Final = Duration(60)
_WORKING_DAY: Final = Duration(8 * 3600)
_DAY: Final = Duration(24 * 3600)

LogLevel = Literal["debug", "info", "warning", "error"]
LockOn = Literal["suspend", "screen-lock"]


@dataclass(frozen=True, slots=True)
class _Top:
    default: str | None = None


@dataclass(frozen=True, slots=True)
class _Daemon:
    persist: Literal["auto", "keyring", "systemd", "passphrase", "off"] = "auto"
    log_level: LogLevel = "info"
    infer_rejection: bool = True
    ttl_max: Duration = _DAY
    lock_after: Duration | None = None
    lock_on: tuple[LockOn, ...] = ()


@dataclass(frozen=True, slots=True)
class _Common:
    """The keys that every credential may have, whatever its source."""

    source: str
    audience: tuple[BaseURL, ...] = ()
    min_validity: Duration = _MINUTE
    max_age: Duration | None = None
    idle_after: Duration = _WORKING_DAY
    refresh_interval_min: Duration = _TEN_SECONDS


_COMMON: Final = frozenset(field.name for field in fields(_Common))
_TABLES: Final = frozenset({"sources", "credentials", "daemon", "endpoints"})


def read(path: Path, types: Types, env: Mapping[str, str] = os.environ) -> Config:
    """Read and check the config file; raise `ConfigError` with every problem, one line each."""
    return parse(read_text(path), path, types, env)


def read_daemon(path: Path, env: Mapping[str, str] = os.environ) -> DaemonConfig:
    """Read the `[daemon]` table alone; a config that is not there yet has the defaults.

    For a command that must work before the rest is right. Raises `ConfigError` with what is wrong with this table.
    """
    return _Parser(path, {}, env).only_daemon(load(read_text(path), path)) if os.path.lexists(path) else DaemonConfig()


def names_credentials(path: Path) -> bool:
    """Whether the config names any, right or wrong: without one no daemon starts. Raises `ConfigError`."""
    return os.path.lexists(path) and load(read_text(path), path).get("credentials", {}) != {}


def parse(text: str, path: Path, types: Types, env: Mapping[str, str] = os.environ) -> Config:
    """Check a config's text; `path` is for the messages. Raises `ConfigError` with every problem."""
    return _Parser(path, types, env).config(load(text, path))


class _Parser:
    def __init__(self, path: Path, types: Types, env: Mapping[str, str]) -> None:
        self._path = path
        self._types = types
        self._env = env
        self._reader = Reader(str(path))

    def config(self, top: Table) -> Config:
        daemon = self._daemon(self._section(top, "daemon"))
        sources_table = self._section(top, "sources")
        credentials_table = self._section(top, "credentials")
        sources = self._sources(sources_table)
        credentials = self._credentials(credentials_table, sources_table, sources, daemon.ttl_max_s)
        self._check_names(sources, credentials, sources_table, credentials_table)
        default = self._default(top, credentials_table)
        if top.get("credentials", {}) == {}:
            self._reader.report(("credentials",), _NO_CREDENTIAL)
        listening = endpoints.read(top.get("endpoints", {}), self._reader, credentials_table)
        for keys, problem in endpoints.problems(listening, sources, credentials):
            self._reader.report(keys, problem)
        if self._reader.problems:
            raise ConfigError(self._reader.problems)
        return Config(self._path, default, sources, credentials, daemon, listening)

    def _check_names(
        self,
        sources: Mapping[str, SourceConfig],
        credentials: Mapping[str, CredentialConfig],
        sources_table: Table,
        credentials_table: Table,
    ) -> None:
        """Check what credentials say of each other by name."""
        wrong_sources = {name: table for name, table in sources_table.items() if name not in sources}
        wrong_credentials = {name: table for name, table in credentials_table.items() if name not in credentials}
        for keys, problem in (
            *references.problems(sources, credentials, credentials_table),
            *references.dangling(wrong_sources, "sources", credentials_table, self._types),
            *references.dangling(wrong_credentials, "credentials", credentials_table, self._types),
            *pools.problems(sources, credentials),
        ):
            self._reader.report(keys, problem)

    def only_daemon(self, top: Table) -> DaemonConfig:
        daemon = self._daemon(self._section(top, "daemon"))
        if self._reader.problems:
            raise ConfigError(self._reader.problems)
        return daemon

    def _section(self, top: Table, key: str) -> Table:
        section = top.get(key, {})
        if isinstance(section, dict):
            return section
        self._reader.report((key,), f"expected a table, found {type_name(section)}")
        return {}

    def _named_tables(self, section: Table, key: str) -> Table:
        """Keep what has a proper name and is a table; report the rest."""
        proper = {}
        for name, table in section.items():
            if not NAME.fullmatch(name):
                self._reader.report((key, name), "a name is letters, digits and . _ - (at most 64, no . _ - first)")
            elif not isinstance(table, dict):
                # `[sources] type = "file"`: a key where a named table belongs
                self._reader.report((key, name), f"expected a table [{key}.NAME], found {type_name(table)}")
            else:
                proper[name] = table
        return proper

    def _daemon(self, table: Table) -> DaemonConfig:
        read = self._reader.structure(table, _Daemon, "daemon") or _Daemon()
        return DaemonConfig(
            persist=read.persist,
            log_level=self._log_level(read.log_level),
            infer_rejection=read.infer_rejection,
            ttl_max_s=read.ttl_max,
            lock_after_s=read.lock_after,
            lock_on=read.lock_on,
        )

    def _log_level(self, configured: str) -> str:
        from_env = self._env.get("BROKER_LOG_LEVEL", "").lower()
        if not from_env:
            return configured
        levels = get_args(LogLevel)
        if from_env not in levels:
            self._reader.problems.append(f"BROKER_LOG_LEVEL: expected one of {one_of(levels)}{near(from_env, levels)}")
        return from_env

    def _sources(self, section: Table) -> dict[str, SourceConfig]:
        tables = self._named_tables(section, "sources")
        read = (self._source(name, dict(table)) for name, table in tables.items())
        return {source.name: source for source in read if source is not None}

    def _source(self, name: str, table: dict[str, Any]) -> SourceConfig | None:
        keys = ("sources", name)
        if "type" not in table:
            self._reader.report((*keys, "type"), f"missing; expected one of {one_of(sorted(self._types))}")
            return None
        type_name_ = table.pop("type")
        if not isinstance(type_name_, str):
            self._reader.report((*keys, "type"), f"expected text, found {type_name(type_name_)}")
            return None
        if type_name_ not in self._types:
            self._reader.report((*keys, "type"), self._unknown_type(type_name_))
            return None
        type_ = self._types[type_name_]
        settings: Any = self._reader.structure(table, type_.source_settings, *keys, also=frozenset({"type"}))
        return None if settings is None else SourceConfig(name, type_, settings)

    def _unknown_type(self, name: str) -> str:
        known = sorted(self._types)
        return f"no such source type{near(name, known)}; expected one of {one_of(known)}"

    def _credentials(
        self, section: Table, sources_table: Table, sources: dict[str, SourceConfig], ttl_max_s: float
    ) -> dict[str, CredentialConfig]:
        credentials = {}
        for name, table in self._named_tables(section, "credentials").items():
            credential = self._credential(name, table, sources_table, sources, ttl_max_s)
            if credential is not None:
                credentials[name] = credential
        return credentials

    def _credential(
        self, name: str, table: Table, sources_table: Table, sources: dict[str, SourceConfig], ttl_max_s: float
    ) -> CredentialConfig | None:
        keys = ("credentials", name)
        common = self._reader.structure({key: table[key] for key in table if key in _COMMON}, _Common, *keys)
        own = {key: value for key, value in table.items() if key not in _COMMON}
        source_name = table.get("source")
        source = self._find_source(source_name, keys, sources_table, sources) if isinstance(source_name, str) else None
        if source is None:
            self._check_anyway(own, keys, sources_table.get(source_name) if isinstance(source_name, str) else None)
            return None
        settings: Any = self._reader.structure(own, source.type.credential_settings, *keys, also=_COMMON)
        if common is None or settings is None:
            return None
        timing = Timing(
            min_validity_s=common.min_validity,
            max_age_s=source.type.max_age_s if common.max_age is None else common.max_age,
            idle_after_s=common.idle_after,
            refresh_interval_min_s=common.refresh_interval_min,
            ttl_max_s=ttl_max_s,
        )
        audience = common.audience or source.type.audience(source.settings)
        return CredentialConfig(name, source.name, settings, timing, audience)

    def _find_source(
        self, name: str, keys: tuple[str, ...], sources_table: Table, sources: dict[str, SourceConfig]
    ) -> SourceConfig | None:
        """Find the table, or make a source of the bare type's name and remember it."""
        if name in sources:
            return sources[name]
        if name in sources_table:
            return None  # it is there, and what is wrong with it was said there
        if name in self._types:
            return self._bare_source(self._types[name], keys, sources)
        known = [*(key for key in sources_table if NAME.fullmatch(key)), *self._types]
        self._reader.report((*keys, "source"), self._unknown_source(name, known))
        return None

    def _bare_source(
        self, type_: SourceType, keys: tuple[str, ...], sources: dict[str, SourceConfig]
    ) -> SourceConfig | None:
        probe = Reader(str(self._path))
        settings: Any = probe.structure({}, type_.source_settings)
        if settings is None:
            self._reader.report(
                (*keys, "source"), f'this type needs settings; add a table [sources.NAME] with type = "{type_.name}"'
            )
            return None
        return sources.setdefault(type_.name, SourceConfig(type_.name, type_, settings))

    def _unknown_source(self, name: str, known: list[str]) -> str:
        return f"no such source{near(name, known)}; known are {', '.join(sorted(set(known)))}"

    def _check_anyway(self, own: Table, keys: tuple[str, ...], source_table: object) -> None:
        """What is wrong with the source was said; say in the same go what else is wrong here, as far as it shows."""
        type_name_ = source_table.get("type") if isinstance(source_table, dict) else None
        type_ = self._types.get(type_name_) if isinstance(type_name_, str) else None
        if type_ is None:
            self._secrets_in(own, keys)
        else:
            self._reader.structure(own, type_.credential_settings, *keys, also=_COMMON)

    def _secrets_in(self, own: Table, keys: tuple[str, ...]) -> None:
        """Where no source tells which keys are right, at least say that a secret does not belong here."""
        for key in own:
            if holds_secret(key):
                self._reader.report((*keys, key), unknown_key(key, ()))

    def _default(self, top: Table, credentials_table: Table) -> str | None:
        self._reader.structure({key: top[key] for key in top if key not in _TABLES}, _Top, also=_TABLES)
        named = top.get("default")
        names = [name for name in credentials_table if NAME.fullmatch(name)]
        if not isinstance(named, str):
            return names[0] if len(names) == 1 else None
        if named not in names:
            known = f"; known are {', '.join(sorted(names))}" if names else ""
            self._reader.report(("default",), f"no such credential{near(named, names)}{known}")
        return named
