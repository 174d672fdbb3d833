"""The daemon's life in the background: by systemd where its unit is set up, else as a process of its own.

For commands, each of which may have to find, start, stop or reload it; the daemon itself knows none of this.
"""

from broker.background.reloading import reload
from broker.background.starting import restart, start, with_daemon
from broker.background.stopping import stop

__all__ = ["reload", "restart", "start", "stop", "with_daemon"]
