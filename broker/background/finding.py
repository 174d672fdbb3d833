"""Which process is the daemon on a socket, and does it answer? Also where it hangs, and can say nothing itself."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from broker import locks
from broker.background.pinned import Pinned
from broker.client import Client, Disconnected, NotRunning, document
from broker.errors import BrokerError, Unreachable, UnsafePath

ANSWERS_WITHIN_S: Final = 2.0
_LOOKS: Final = 3


@dataclass(frozen=True, slots=True)
class Found:
    """The daemon's process. `hangs`: it neither answers nor drains."""

    process: Pinned
    hangs: bool


def find(client: Client) -> Found | None:
    """Find the daemon; None where nobody listens.

    Raises `Unreachable` when another process than the daemon holds the socket, `UnsafePath` as `Client` does.
    """
    try:
        listener, serving = _look(client)
    except NotRunning:
        return None
    if serving is None:
        return _silent(client, listener)
    if listener is None or serving != listener.pid:
        held_by = "another process" if listener is None else f"process {listener.pid}"
        raise Unreachable(
            f"{held_by} holds {client.socket_path}, but process {serving} serves it: stop it where it was started (a service manager?)"
        )
    return Found(listener, hangs=False)


def holder(client: Client) -> locks.Holder | None:
    """Tell which daemon holds the lock of the socket, as it wrote there itself."""
    return locks.holder(client.socket_path.parent / locks.SOCKET)


def _look(client: Client) -> tuple[Pinned | None, int | None]:
    """Pin who listens and ask who serves; once more where the connection breaks off, since that one just ended."""
    for _ in range(_LOOKS):
        with suppress(Disconnected, ProcessLookupError):
            return _look_once(client)
    return None, None


def _look_once(client: Client) -> tuple[Pinned | None, int | None]:
    listener = None
    try:
        with replace(client, timeout_s=ANSWERS_WITHIN_S).session() as session:
            listener = Pinned(session.peer.pid)
            # The answer comes over a connection to the process just pinned: it cannot be a pid handed on since.
            return listener, int(document(session.read(session.ask("GET", "/v1/status")))["daemon"]["pid"])
    except (NotRunning, Disconnected, UnsafePath):
        raise
    except (BrokerError, KeyError, TypeError, ValueError):
        return listener, None


def _silent(client: Client, listener: Pinned | None) -> Found:
    """Recognise the daemon by its command line: what merely listens there is not ours to end."""
    if listener is not None and listener.is_daemon():
        return Found(listener, hangs=not _drains(client, listener))
    # Behind a service manager's socket, or a full queue, the lock alone names the daemon.
    held_by = holder(client)
    if held_by is not None and held_by.pid:
        with suppress(ProcessLookupError):
            locked = Pinned(held_by.pid)
            if locked.is_daemon():
                return Found(locked, hangs=not held_by.stopping)
    if listener is None:
        raise Unreachable(f"what listens on {client.socket_path} does not answer; see who it is: ss -xlp")
    raise Unreachable(
        f"process {listener.pid} holds {client.socket_path}, does not answer and is no daemon that `broker` knows; end it with: kill {listener.pid}"
    )


def _drains(client: Client, process: Pinned) -> bool:
    held_by = holder(client)
    return held_by is not None and held_by.pid == process.pid and held_by.stopping
