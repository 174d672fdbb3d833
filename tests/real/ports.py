"""Ports for servers that have to be told theirs, kept free until these listen."""

from __future__ import annotations

import socket
from typing import Final

_KEPT: Final[list[socket.socket]] = []


def free_port() -> int:
    """Give a port of the loopback that the kernel gives to nobody else while this process lives.

    Bound, but not listening, and SO_REUSEADDR: who asks for any port gets another one, and a server that names this
    one gets it, as every server here sets that option too (socket(7)). Closed at once it would be anybody's until
    the server listens, and a slow one takes seconds.
    """
    kept = socket.socket()
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    kept.bind(("127.0.0.1", 0))
    _KEPT.append(kept)
    port: int = kept.getsockname()[1]
    return port
