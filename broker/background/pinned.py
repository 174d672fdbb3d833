"""A process that stays the same one, even when its pid is given to another."""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from broker import platform

_POLL_S: Final = 0.02
_AS_MODULE: Final = ("-m", "broker.cli", "run")


class Pinned:
    """The process `pid`, held by pidfd_open(2) where there is one. Raises `ProcessLookupError` where it is gone."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._descriptor = os.pidfd_open(pid) if pid > 0 and hasattr(os, "pidfd_open") else None

    def is_daemon(self) -> bool:
        """Whether its command line is that of `broker run`, as a script or as a module."""
        arguments = tuple(platform.current().arguments(self.pid))
        return arguments[-3:] == _AS_MODULE or [Path(word).name for word in arguments[-2:]] == ["broker", "run"]

    def terminate(self) -> None:
        """Ask it to drain and end."""
        self._signal(signal.SIGTERM)

    def hang_up(self) -> None:
        """Ask it to read its config again."""
        self._signal(signal.SIGHUP)

    def kill(self) -> None:
        """End it without asking: also a process that is stopped, or stuck in a loop."""
        self._signal(signal.SIGKILL)

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

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            if self._descriptor is not None:
                signal.pidfd_send_signal(self._descriptor, number)
            else:
                os.kill(self.pid, number)
