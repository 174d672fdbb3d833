"""The token in hand: received, alive until one clock says that it is dead, and due to be replaced before."""

from __future__ import annotations

import math
from dataclasses import replace
from random import Random
from typing import Final

from broker.clock import Now
from broker.engine.advice import room_s
from broker.engine.vocabulary import Held, Receipt
from broker.model import Issued

AHEAD: Final = 1 / 3
"""Share of its lifetime that is left when a token is replaced ahead of time."""

JITTER: Final = 1 / 10
"""Up to this share of the lifetime earlier than that, so that a fleet does not move as one."""

ALIVE_S: Final = 0.1
"""A token with less life than this when it is received cannot be handed on alive."""


class Hand:
    """Holds one token or none. `max_age_s`: after so long one without an end is replaced; None: never."""

    def __init__(self, max_age_s: float | None, random: Random) -> None:
        self.held: Held | None = None
        self.unconfirmed = False
        """Whether an earlier run received it, and it has no end: nobody knows what happened to it meanwhile."""
        self._max_age_s = max_age_s
        self._random = random
        self._serial = 0

    def retime(self, max_age_s: float | None) -> None:
        """Follow another age from now on."""
        self._max_age_s = max_age_s
        if self.held is not None:
            self.held = replace(self.held, jitter_s=self._jitter_s(self.held.lifetime_s))

    def take(self, now: Now, issued: Issued, lifetime_s: float) -> None:
        """Hold what was received now; the serial counts different secrets only."""
        self._serial += self.held is None or not self.held.issued.same_secret(issued)
        self.held = self._made(issued, self._serial, now, lifetime_s)
        self.unconfirmed = False

    def curtail(self, now: Now, held: Held, issued: Issued, lifetime_s: float) -> None:
        """The source repeats itself: believe it where it says that the token dies sooner."""
        self.held = replace(held, issued=issued, lifetime_s=min(held.lifetime_s, held.age_s(now) + lifetime_s))
        self.unconfirmed = False

    def restore(self, now: Now, receipt: Receipt) -> bool:
        """Take up what an earlier run received: return whether it is alive.

        Its age counts on. A negative one (the time of day was set back before another boot) tells nothing of how
        long it has lived, so it counts as dead.
        """
        if self.held is not None:
            return False
        held = self._made(receipt.issued, self._serial + 1, receipt.received_in(now), receipt.lifetime_s)
        if held.age_s(now) < 0 or not held.remaining_s(now) >= ALIVE_S:
            return False
        self._serial += 1
        self.held = held
        self.unconfirmed = held.lifetime_s == math.inf
        return True

    def bury(self, now: Now) -> bool:
        """Once dead, dead for good: a clock set back revives nothing. Return whether it died just now."""
        if self.held is None or self.held.dead or self.held.remaining_s(now) > 0:
            return False
        self.held = replace(self.held, dead=True)
        return True

    def drop(self) -> None:
        """Hold nothing."""
        self.held = None
        self.unconfirmed = False

    def replace_at(self, now: Now, required_s: float) -> float:
        """When (`mono`) it is to be replaced for who needs `required_s` of life, were the source ready; inf: never."""
        held = self.held
        if held is None or held.dead or self.unconfirmed:
            return now.mono
        if held.lifetime_s < math.inf:
            ahead_s = max(AHEAD * held.lifetime_s, required_s) + held.jitter_s
            return now.mono + held.remaining_s(now) - min(ahead_s, room_s(held.lifetime_s))
        if self._max_age_s is not None:
            return held.received.mono + self._max_age_s - held.jitter_s
        return math.inf

    def _made(self, issued: Issued, serial: int, received: Now, lifetime_s: float) -> Held:
        return Held(issued, serial, received, lifetime_s, jitter_s=self._jitter_s(lifetime_s))

    def _jitter_s(self, lifetime_s: float) -> float:
        spread_s = lifetime_s if lifetime_s < math.inf else (self._max_age_s or 0.0)
        return self._random.random() * JITTER * spread_s
