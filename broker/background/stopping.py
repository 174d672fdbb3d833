"""Stops the daemon, wherever it was started, and waits until it is gone."""

from __future__ import annotations

from typing import Final

from broker.background.finding import find
from broker.background.pinned import Pinned
from broker.client import Client
from broker.errors import Unreachable
from broker.integrations import systemd

DRAINED_WITHIN_S: Final = 30.0
HUNG_ENDS_WITHIN_S: Final = 3.0
KILLED_WITHIN_S: Final = 5.0


def stop(client: Client) -> bool:
    """Stop the daemon and wait until it is gone; False when none was running.

    One that hangs, or does not go when asked, is killed. Raises `Unreachable` when it still does not go, or when
    it cannot be told which process it is.
    """
    by_systemd = systemd.is_set_up(client.socket_path) and systemd.is_active()
    if by_systemd:
        systemd.stop()
    return _end(client) or by_systemd


def _end(client: Client) -> bool:
    found = find(client)
    if found is None:
        return False
    found.process.terminate()
    if not found.process.wait(HUNG_ENDS_WITHIN_S if found.hangs else DRAINED_WITHIN_S):
        _kill(found.process)
    return True


def _kill(process: Pinned) -> None:
    if not process.is_daemon():
        raise Unreachable(
            f"the daemon (pid {process.pid}) still runs after SIGTERM; end it with: kill -9 {process.pid}"
        )
    process.kill()
    if not process.wait(KILLED_WITHIN_S):
        raise Unreachable(f"the daemon (pid {process.pid}) still runs after SIGKILL: the kernel holds it; see its log")
