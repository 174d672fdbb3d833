"""Changes that go on to their end although who asked for them hangs up."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Changes:
    """Those under way; a half-done one would leave a secret or a token that nobody knows of."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    async def to_the_end(self, change: Coroutine[Any, Any, T]) -> T:
        """Run it, and return what it gives; cancelling the caller does not cancel it."""
        task = asyncio.create_task(change)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, change: asyncio.Task[Any]) -> None:
        self._running.discard(change)
        if not change.cancelled():
            change.exception()  # told to who asked, or to nobody if there is none any more
