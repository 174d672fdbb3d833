"""What happens, told to whoever listens; a listener that does not keep up loses events, not the daemon memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

QUEUE_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened; never with a secret. `at` is epoch seconds, `credential` None where it is all of them."""

    name: str
    credential: str | None
    at: float
    fingerprint: str | None = None
    expires_in_s: int | None = None
    reason: str | None = None


class Bus:
    """Hands every event to every listener."""

    def __init__(self) -> None:
        self._listeners: set[asyncio.Queue[Event | None]] = set()

    def publish(self, event: Event) -> None:
        """Tell everybody; the oldest event of a full queue makes room."""
        for queue in self._listeners:
            _put(queue, event)

    def close(self) -> None:
        """Tell every listener that there is no more to come (None)."""
        for queue in self._listeners:
            _put(queue, None)

    @contextmanager
    def listen(self) -> Iterator[asyncio.Queue[Event | None]]:
        """Listen as long as the context lasts."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue(QUEUE_MAX)
        self._listeners.add(queue)
        try:
            yield queue
        finally:
            self._listeners.discard(queue)


def _put(queue: asyncio.Queue[Event | None], event: Event | None) -> None:
    if queue.full():
        queue.get_nowait()
    queue.put_nowait(event)
