"""What a daemon that cannot start says to those who wait in the service manager's socket.

Left there, a waiting ask would have the service manager start the daemon again at once, and again, while the caller
waits in vain.
"""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from typing import Final

from broker.errors import BrokerError, ConfigError, Unreachable
from broker.last_answer import last_answer

_WITHIN_S: Final = 2.0
_EACH_WITHIN_S: Final = 0.2
"""A caller sends its ask before it waits: one that takes longer sends none."""
_HEAD_MAX: Final = 32 * 1024
_CONFIG: Final = "the config is wrong, so no daemon can start; see: broker config check"


def turn_away(listener: socket.socket, error: BrokerError) -> None:
    """Answer everyone who waits on `listener` with `error`. Never raises."""
    answer = _answer(_CONFIG if isinstance(error, ConfigError) else str(error))
    deadline = time.monotonic() + _WITHIN_S
    with suppress(OSError):  # nobody waits any more
        listener.settimeout(0)
        while time.monotonic() < deadline:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                connection.settimeout(_EACH_WITHIN_S)
                _read_head(connection)
                connection.sendall(answer)


def _read_head(connection: socket.socket) -> None:
    """Read the ask to its end: who is answered before that may miss the answer."""
    head = b""
    while b"\r\n\r\n" not in head and len(head) < _HEAD_MAX and (part := connection.recv(4096)):
        head += part


def _answer(message: str) -> bytes:
    headers = {
        "X-Broker-Error": Unreachable.code,
        "Content-Type": "text/plain; charset=utf-8",
        "Cache-Control": "no-store",
    }
    return last_answer(503, headers, f"{' '.join(message.split())}\n".encode())
