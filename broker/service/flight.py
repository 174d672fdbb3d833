"""The one fetch of a credential that may be running: who waits shares it, and nobody who leaves cancels it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from typing import Final

from broker.engine.vocabulary import Failure, Trouble
from broker.model import Issued
from broker.secret import Secret
from broker.service.attempt import attempt
from broker.sources.interface import Fetcher

_INTERRUPTED: Final = Failure(Trouble.TRANSIENT, "the fetch was interrupted")


class Flight:
    """Of credential `name`; `landed` is told what each fetch came to, unless it was called off."""

    def __init__(self, name: str, landed: Callable[[Issued | Failure], None]) -> None:
        self._name = name
        self._landed = landed
        self._task: asyncio.Task[None] | None = None

    def launch(self, fetcher: Fetcher, known: Iterable[Secret]) -> None:
        """Begin one; `known` secrets are kept out of what it says of its failure."""
        self._task = asyncio.create_task(self._fetch(fetcher, known), name=f"fetch {self._name}")

    async def landing(self, at_most_s: float = math.inf) -> None:
        """Wait for the running fetch, if any."""
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=None if at_most_s == math.inf else at_most_s)

    def call_off(self) -> bool:
        """Throw away whatever it brings; return whether one was running."""
        if self._task is None:
            return False
        self._task.cancel()
        self._task = None
        return True

    async def stop(self) -> None:
        """Interrupt it, which counts as a failure."""
        task = self._task
        if task is None:
            return
        task.cancel()
        await asyncio.wait({task})
        if self._task is task:  # it was cancelled before its first step
            self._task = None
            self._landed(_INTERRUPTED)

    async def _fetch(self, fetcher: Fetcher, known: Iterable[Secret]) -> None:
        try:
            outcome = await attempt(fetcher, self._name, known)
        except asyncio.CancelledError:
            self._end(_INTERRUPTED)
            raise
        self._end(outcome)

    def _end(self, outcome: Issued | Failure) -> None:
        if self._task is not asyncio.current_task():
            return  # called off meanwhile: whatever it brings is not to be in memory
        self._task = None
        self._landed(outcome)
