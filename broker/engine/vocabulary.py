"""The words of a credential's life: its states, the token in hand, why a fetch failed, what an ask comes to."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum, StrEnum

from broker.clock import Now
from broker.model import Issued


class State(StrEnum):
    """What `status` calls the credential's condition."""

    EMPTY = "empty"
    FRESH = "fresh"
    STALE = "stale"
    EXPIRED = "expired"
    FAILING = "failing"
    NEEDS_LOGIN = "needs-login"


class Trouble(Enum):
    """Why a fetch failed, as far as the next attempt depends on it."""

    TRANSIENT = "may go away by itself"
    PERMANENT = "stays until the config, the inputs or a person act"
    LOGIN = "stays until a person signs in"


@dataclass(frozen=True, slots=True)
class Failure:
    """A fetch that gave nothing. `message` is one line without secrets."""

    trouble: Trouble
    message: str
    retry_after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Held:
    """The token in hand. `serial` counts the different secrets this credential has had."""

    issued: Issued
    serial: int
    received: Now
    lifetime_s: float
    jitter_s: float
    dead: bool = False

    def remaining_s(self, now: Now) -> float:
        """Seconds of life left; the shorter of what both clocks say, so that no jump or sleep adds any."""
        if self.dead:
            return 0.0
        if self.issued.expires_at is None:
            return math.inf
        return min(self.issued.expires_at - now.wall, self.lifetime_s - self.age_s(now))

    def is_repeated_by(self, issued: Issued) -> bool:
        """Whether this is the same secret, neither prolonged (a renewed lease) nor without an end (a static key)."""
        before, after = self.issued.expires_at, issued.expires_at
        return self.issued.same_secret(issued) and before is not None and after is not None and after <= before + 1

    def age_s(self, now: Now) -> float:
        """Seconds since receipt."""
        return now.mono - self.received.mono


@dataclass(frozen=True, slots=True)
class Receipt:
    """What is known, after a restart, of a token that was received before it.

    `same_boot`: the machine has not been started anew since, so that `received.mono` still means something.
    """

    issued: Issued
    received: Now
    lifetime_s: float
    same_boot: bool

    def received_in(self, now: Now) -> Now:
        """Tell the moment of receipt on the clocks of `now`; in another boot only the time of day knows it."""
        if self.same_boot:
            return self.received
        return Now(self.received.wall, now.mono - (now.wall - self.received.wall))


@dataclass(frozen=True, slots=True)
class Plan:
    """What an ask comes to: start a fetch now? and wait up to how long before `answer`?

    `wake_at`: what `Life.wake_at` says from now on.
    """

    fetch: bool = False
    wait_s: float = 0.0
    wake_at: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Warn:
    """Something a person should know although tokens are served."""

    code: str
    message: str


@dataclass(slots=True)
class Counters:
    """How often what happened, since the daemon started."""

    served: int = 0
    refreshes: int = 0
    failures: int = 0
    rejections: int = 0
