"""The config: TOML into frozen structs, with every error at once.

`reader` puts a config together, `structure` reads one table by its dataclass's annotations, `edit` changes the file for
a person. What a source's table may hold is the source's own business: its settings classes come in as arguments.
"""

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
