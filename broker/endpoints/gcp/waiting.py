"""`wait_for_change`: an answer that comes when what was asked for is no longer what it was.

Contract: https://cloud.google.com/compute/docs/metadata/querying-metadata#waitforchange
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from broker.endpoints.gcp.tree import Shown
from broker.errors import BadRequest, SourceFailed
from broker.service.events import Bus, Event

WAITERS_MAX: Final = 32
"""Each holds a connection; a program that forgets its own must not take them all."""
WAIT_MAX_S: Final = 600.0
"""Nobody is waited for longer: who still wants to know asks again."""

_CHANGES: Final = frozenset({"issued", "refreshed", "reloaded", "locked", "unlocked"})
_DIGITS_MAX: Final = 9

Look = Callable[[], Awaitable[Shown]]


@dataclass(frozen=True, slots=True)
class Wait:
    """How a client wants to wait. `last`: the `ETag` of what it knows; None: of what there is as it asks."""

    last: str | None
    timeout_s: float

    @classmethod
    def asked(cls, query: Mapping[str, str]) -> Wait | None:
        """Read it from a query; None where it does not ask to wait. Raises `BadRequest`."""
        if query.get("wait_for_change", "false").lower() != "true":
            return None
        text = query.get("timeout_sec")
        if text is None:
            return cls(query.get("last_etag"), WAIT_MAX_S)
        if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX):
            raise BadRequest("timeout_sec: expected a whole number of seconds, 0 or more")
        return cls(query.get("last_etag"), min(float(text), WAIT_MAX_S))


class Waiters:
    """Everybody who waits, few at a time."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.count = 0

    async def changed(self, look: Look, wait: Wait) -> Shown:
        """Return what `look` sees once that is not what the client knows, or when its time is over, or the daemon's.

        Raises `SourceFailed` where too many wait, and whatever `look` raises.
        """
        with self._counted(), self._bus.listen() as events:
            seen = await look()
            last = wait.last if wait.last is not None else seen.etag
            try:
                async with asyncio.timeout(wait.timeout_s):
                    while seen.etag == last and await _news(events):
                        seen = await look()
            except TimeoutError:
                seen = await look()
        return seen

    @contextmanager
    def _counted(self) -> Iterator[None]:
        if self.count >= WAITERS_MAX:
            raise SourceFailed(f"{self.count} clients wait for a change already; try again later")
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1


async def _news(events: asyncio.Queue[Event | None]) -> bool:
    """Wait until something may have changed; False where nothing will any more: the daemon ends."""
    while (event := await events.get()) is not None:
        if event.name in _CHANGES:
            return True
    return False
