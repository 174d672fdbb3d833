"""A source that does what the test's script says, and a keeper on it."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field, replace
from random import Random

from broker.model import TOKEN, Issued, Timing
from broker.service.events import Event
from broker.service.keeper import Keeper
from tests.service.virtual_time import VirtualClock

KEY = b"fingerprint key of the tests"
HANGING_S = 1e7


@dataclass
class Step:
    """What one fetch comes to: after a while a token, or an error."""

    after_s: float = 0.0
    text: str = "fake-token"
    lifetime_s: float | None = 3600.0
    error: BaseException | None = None
    borrowed: bool = False


@dataclass
class ScriptedFetcher:
    """A `Fetcher`. After the script's last step it mints `fake-token-N` at once, N being the number of the call."""

    clock: VirtualClock
    steps: deque[Step] = field(default_factory=deque)
    timeout_s: float = 30.0
    calls: int = 0
    running: int = 0
    cancelled: int = 0
    stale: bool = False
    renounced: int = 0

    def then(self, *steps: Step) -> ScriptedFetcher:
        """Add to the script."""
        self.steps.extend(steps)
        return self

    async def fetch(self) -> Issued:
        """Do the next step."""
        self.calls += 1
        self.running += 1
        assert self.running == 1, "never two fetches at a time"
        step = self.steps.popleft() if self.steps else Step(text=f"fake-token-{self.calls}")
        try:
            await asyncio.sleep(step.after_s)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        if step.error is not None:
            raise step.error
        expires_at = None if step.lifetime_s is None else self.clock.now().wall + step.lifetime_s
        return replace(Issued.token(step.text, expires_at), borrowed=step.borrowed)

    def changed(self) -> bool:
        """Whether the test says so."""
        return self.stale

    def renounce(self) -> None:
        """Count it."""
        self.renounced += 1


@dataclass
class ReturningFetcher(ScriptedFetcher):
    """One that takes tokens back. `returned`: each of them, and in how many seconds nobody uses it any more."""

    returned: list[tuple[str, float]] = field(default_factory=list)

    def superseded(self, issued: Issued, unused_in_s: float) -> None:
        """Note it."""
        self.returned.append((text_of(issued), unused_in_s))


class Kept:
    """A keeper, its source, its clock and everything it told."""

    def __init__(self, *steps: Step, timing: Timing | None = None, name: str = "work") -> None:
        self.clock = VirtualClock()
        self.fetcher = ScriptedFetcher(self.clock).then(*steps)
        self.events: list[Event] = []
        self.keeper = Keeper(
            name,
            self.fetcher,
            timing or Timing(),
            clock=self.clock,
            publish=self.events.append,
            fingerprint_key=KEY,
            random=Random(1),
        )

    async def ask(self, ttl_s: float = 300.0, deadline_s: float = 9.0) -> str:
        """Ask; return the token's text."""
        return text_of((await self.keeper.ask(ttl_s, deadline_s)).issued)

    def told(self) -> list[str]:
        """Names of the events so far."""
        return [event.name for event in self.events]


def text_of(issued: Issued) -> str:
    """Return the token."""
    return issued.parts[TOKEN].reveal()
