"""What a `vault` source and its credentials take in the config."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from broker.durations import Duration
from broker.sources.vault.auth import Auth, TokenFile
from broker.sources.web.server import Server, checked_url, settle_tls_files

_TIMEOUT: Final = Duration(10)
_ADDRESS_VARIABLES: Final = ("VAULT_ADDR", "BAO_ADDR")
_PATH: Final = re.compile(r"[^\s?#%\\\x00-\x1f]{1,1000}")


@dataclass(frozen=True, slots=True)
class VaultSourceSettings:
    """Which server, how to reach it, and who we are there; `timeout` is of one call, in seconds."""

    address: str | None = None
    namespace: str | None = None
    auth: Auth = field(default_factory=TokenFile)
    ca_cert: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    tls_server_name: str | None = None
    allow_http: bool = False
    timeout: Duration = _TIMEOUT

    def __post_init__(self) -> None:
        settle_tls_files(self)
        if self.namespace is not None and not _PATH.fullmatch(self.namespace):
            raise ValueError("namespace must be a path such as team/project")
        object.__setattr__(self, "address", self._checked_address())

    @property
    def server(self) -> str:
        """The address, which is known once the settings are made."""
        return self.address or ""

    @property
    def reached(self) -> Server:
        """How it is reached."""
        return Server(
            self.server,
            "address",
            self.ca_cert,
            self.client_cert,
            self.client_key,
            self.tls_server_name,
            self.timeout,
            mends_trust="set ca_cert, or tls_server_name",
        )

    def _checked_address(self) -> str:
        address = self.address or next((os.environ[name] for name in _ADDRESS_VARIABLES if os.environ.get(name)), None)
        if address is None:
            raise ValueError(f"address is missing; give it here, or as {' or '.join(_ADDRESS_VARIABLES)} to the daemon")
        return checked_url("address", address, "https://vault.example:8200", allow_http=self.allow_http)


@dataclass(frozen=True, slots=True)
class VaultSettings:
    """`path` as the command line takes it; `field`: dotted; `data` makes it a write; `version`: of a KV v2 secret."""

    path: str
    field: str | None = None
    version: int | None = None
    data: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        path = self.path.strip("/").removeprefix("v1/")
        if not _PATH.fullmatch(path) or {"", ".", ".."} & set(path.split("/")):
            raise ValueError('path must be what the command line takes, such as "secret/claude"')
        if self.field is not None and not self.field:
            raise ValueError("field must not be empty")
        if self.version is not None and (self.version < 1 or self.data is not None):
            raise ValueError("version counts from 1, and belongs to a read")
        object.__setattr__(self, "path", path)
