"""Wakes one credential by itself; the event loop's timers stand still in suspend and know no clock jumps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

_SLEEP_MAX_S: Final = 30.0
"""Look up at least so often."""


class Alarm:
    """Calls `wake` once it is time; set more than once, at the earliest of the moments."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._timer: asyncio.TimerHandle | None = None

    def set(self, in_s: float) -> None:
        """Ring in so many seconds, or earlier: whoever is woken looks whether it is time, and sets it again."""
        loop = asyncio.get_running_loop()
        when = loop.time() + min(max(0.0, in_s), _SLEEP_MAX_S)
        if self._timer is not None:
            if self._timer.when() <= when:
                return
            self._timer.cancel()
        self._timer = loop.call_at(when, self._ring)

    def stop(self) -> None:
        """Do not ring any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._timer = None
        self._wake()
