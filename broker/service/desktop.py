"""Locks at those events of the desktop that the config names."""

from __future__ import annotations

import asyncio
import concurrent.futures
from contextlib import suppress
from typing import Final

from broker.integrations.logind import Logind
from broker.service.safe import Safe

_SUSPEND_WAITS_S: Final = 4.0
"""How long a suspend is held up by us; logind itself waits for five seconds."""


class Desktop:
    """Follows the config's `lock_on`, in whatever way the system tells of such events."""

    def __init__(self, safe: Safe, loop: asyncio.AbstractEventLoop) -> None:
        self._safe = safe
        self._loop = loop
        self._events: tuple[str, ...] = ()
        self._logind: Logind | None = None

    def follow(self, events: tuple[str, ...]) -> None:
        """Lock at these from now on."""
        if events == self._events:
            return
        self.stop()
        self._events = events
        if events:
            self._logind = Logind(events, self._lock)
            self._logind.start()

    def stop(self) -> None:
        """Lock at none any more."""
        self._events = ()
        if self._logind is not None:
            self._logind.stop()
            self._logind = None

    @property
    def warnings(self) -> list[tuple[str, str]]:
        """What a person should know, as (code, message)."""
        if self._logind is None or self._logind.problem is None:
            return []
        message = f"{', '.join(self._events)} will not lock: logind cannot be heard ({self._logind.problem})"
        return [("lock-on-deaf", f"{message}; remove lock_on where there is no logind")]

    def _lock(self, reason: str) -> None:
        """Lock, called from another thread, which waits for it as long as a suspend may."""
        with suppress(concurrent.futures.TimeoutError, RuntimeError):  # RuntimeError: the loop is closed, we are ending
            asyncio.run_coroutine_threadsafe(self._safe.lock(reason), self._loop).result(_SUSPEND_WAITS_S)
