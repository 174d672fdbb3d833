"""The config as the rest of the project sees it: frozen, checked, comparable by value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from broker.model import Timing
from broker.sources.interface import SourceType


@dataclass(frozen=True, slots=True)
class SourceConfig:
    """One `[sources.NAME]` table, or a type that is used by its bare name. `settings` is of the type's class."""

    name: str
    type: SourceType
    settings: object


@dataclass(frozen=True, slots=True)
class CredentialConfig:
    """One `[credentials.NAME]` table.

    `source` is a key of `Config.sources`; `audience` is empty where the provider's own endpoints hold.
    """

    name: str
    source: str
    settings: object
    timing: Timing
    audience: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DaemonConfig:
    """The `[daemon]` table. `lock_on`: events of the desktop that lock; `lock_after_s` None: never."""

    persist: str = "auto"
    log_level: str = "info"
    infer_rejection: bool = True
    ttl_max_s: float = 86400.0
    lock_after_s: float | None = None
    lock_on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EndpointConfig:
    """One of the `[endpoints.*]` tables: where it listens, a loopback address; port 0 is any free one."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class GcpEndpointConfig(EndpointConfig):
    """The `[endpoints.gcp]` table. `credential`: what the default account is; None where no credential can be."""

    credential: str | None = None


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The `[endpoints]` table; what is None is off."""

    aws: EndpointConfig | None = None
    gcp: GcpEndpointConfig | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """One whole file. `default` is the credential served when the caller names none, or None when it must."""

    path: Path
    default: str | None
    sources: Mapping[str, SourceConfig]
    credentials: Mapping[str, CredentialConfig]
    daemon: DaemonConfig
    endpoints: Endpoints = Endpoints()
