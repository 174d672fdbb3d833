"""Has the running daemon read its config again, wherever it was started."""

from __future__ import annotations

from broker.background.finding import find
from broker.client import Client
from broker.errors import Unreachable
from broker.integrations import systemd


def reload(client: Client) -> bool:
    """Send SIGHUP to the daemon, which reads its config at once; False where none runs.

    Raises `Unreachable` where it hangs, or when it cannot be told which process it is.
    """
    if systemd.is_set_up(client.socket_path) and systemd.is_active():
        systemd.reread_config()  # it listens for the daemon: at the socket's other end is not the process to tell
        return True
    found = find(client)
    if found is None:
        return False
    if found.hangs:
        raise Unreachable(f"the daemon (pid {found.process.pid}) does not answer; run: broker restart")
    found.process.hang_up()
    return True
