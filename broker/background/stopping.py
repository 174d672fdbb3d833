"""Stops the daemon, wherever it was started, and waits until it is gone."""

from __future__ import annotations

from typing import Final

from broker.background.pinned import Pinned
from broker.client import Client, NotRunning, document
from broker.errors import Unreachable
from broker.integrations import systemd

STOPPED_WITHIN_S: Final = 30.0


def stop(client: Client) -> bool:
    """Stop the daemon and wait until it is gone; False when none was running.

    Raises `Unreachable` when it does not go, or when it cannot be told which process it is.
    """
    by_systemd = systemd.is_set_up(client.socket_path) and systemd.is_active()
    if by_systemd:
        systemd.stop()
    return _signal_and_wait(client) or by_systemd


def _signal_and_wait(client: Client) -> bool:
    try:
        with client.session() as session:
            pinned = Pinned(session.peer.pid)
            # The answer comes over a connection to the process just pinned: it cannot be a pid handed on since.
            serving = document(session.read(session.ask("GET", "/v1/status")))["daemon"]["pid"]
    except NotRunning:
        return False
    if serving != pinned.pid:
        raise Unreachable(
            f"process {pinned.pid} holds {client.socket_path}, but process {serving} serves it: stop it where it was started (a service manager?)"
        )
    pinned.terminate()
    if not pinned.wait(STOPPED_WITHIN_S):
        raise Unreachable(f"the daemon (pid {serving}) still runs {STOPPED_WITHIN_S:.0f} s after SIGTERM; see its log")
    return True
