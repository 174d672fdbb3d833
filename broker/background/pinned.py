"""A process that stays the same one, even when its pid is given to another."""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import suppress
from typing import Final

_POLL_S: Final = 0.02


class Pinned:
    """The process `pid`, held by pidfd_open(2) where there is one."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._descriptor = os.pidfd_open(pid) if pid > 0 and hasattr(os, "pidfd_open") else None

    def terminate(self) -> None:
        """Ask it to drain and end."""
        with suppress(ProcessLookupError):
            if self._descriptor is not None:
                signal.pidfd_send_signal(self._descriptor, signal.SIGTERM)
            else:
                os.kill(self.pid, signal.SIGTERM)

    def wait(self, timeout_s: float) -> bool:
        """Whether it ended within `timeout_s`."""
        if self._descriptor is not None:
            return bool(select.select([self._descriptor], [], [], timeout_s)[0])
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            try:
                os.kill(self.pid, 0)
            except ProcessLookupError:
                return True
            time.sleep(_POLL_S)
        return False
