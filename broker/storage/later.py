"""An action that is due some time from now, or at once, however often it is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class Later:
    """Runs `action`, `delay_s` after the first call of `due`: what is asked for meanwhile is done with it.

    The action raises nothing, and copes with being run twice at a time.
    """

    def __init__(self, action: Callable[[], Awaitable[None]], delay_s: float) -> None:
        self._action = action
        self._delay_s = delay_s
        self._timer: asyncio.TimerHandle | None = None
        self._running: set[asyncio.Task[None]] = set()

    def due(self, delay_s: float | None = None) -> None:
        """Have it done in time."""
        if self._timer is None:
            delay_s = self._delay_s if delay_s is None else delay_s
            self._timer = asyncio.get_running_loop().call_later(delay_s, self.at_once)

    def at_once(self) -> None:
        """Start it now."""
        self._disarm()
        task = asyncio.get_running_loop().create_task(self._run())
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def settle(self) -> None:
        """Do it now if it is due, and wait until none is running."""
        if self._timer is not None:
            self.at_once()
        while self._running:
            await asyncio.wait(self._running)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _run(self) -> None:
        await self._action()
