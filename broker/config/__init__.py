"""The config: TOML into frozen structs, with every error at once."""

from broker.config.reader import names_credentials, parse, read, read_daemon
from broker.config.structs import (
    Config,
    CredentialConfig,
    DaemonConfig,
    EndpointConfig,
    Endpoints,
    GcpEndpointConfig,
    SourceConfig,
)

__all__ = [
    "Config",
    "CredentialConfig",
    "DaemonConfig",
    "EndpointConfig",
    "Endpoints",
    "GcpEndpointConfig",
    "SourceConfig",
    "names_credentials",
    "parse",
    "read",
    "read_daemon",
]
