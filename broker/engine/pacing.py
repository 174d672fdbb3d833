"""How often a source may be asked, and how long its tokens have to last for those who ask."""

from __future__ import annotations

import math
from collections import deque
from random import Random
from typing import ClassVar


class Pace:
    """Backoff with full jitter and a hard budget; all times in seconds on the suspend-proof clock."""

    FIRST_S: ClassVar[float] = 5.0
    CAP_S: ClassVar[float] = 300.0
    REMEMBER_S: ClassVar[float] = 1.0
    """What an attempt came to is remembered at least so long, so that a hundred callers make no hundred attempts."""
    RETRY_AFTER_MAX_S: ClassVar[float] = 3600.0
    """A source that asks for more patience than this is asked again all the same."""
    BUDGET: ClassVar[int] = 12
    WINDOW_S: ClassVar[float] = 600.0

    def __init__(self, random: Random) -> None:
        self._random = random
        self._attempts: deque[float] = deque(maxlen=self.BUDGET)
        self._failures = 0
        self._repeats = 0
        self._not_before = -math.inf
        self.stalled_until = -math.inf
        self.calm_until = -math.inf
        self.final = False

    @property
    def next_at(self) -> float:
        """When the next attempt may be made; inf: not until somebody acts."""
        if self.final:
            return math.inf
        return max(self._not_before, self._budget_from())

    def allows(self, at: float) -> bool:
        """Whether an attempt may be made now."""
        return at >= self.next_at

    def began(self, at: float) -> None:
        """An attempt is made."""
        self._attempts.append(at)

    def gained(self, at: float) -> None:
        """The source gave something new."""
        self._succeeded(at)
        self._repeats = 0
        self.stalled_until = -math.inf

    def repeated(self, at: float, remaining_s: float) -> None:
        """The source gave what we had: ask ever more seldom for a better one, and more often again towards its end."""
        self._succeeded(at)
        self.stalled_until = at + min(self._step_s(self._repeats), max(self.REMEMBER_S, remaining_s / 2))
        self._repeats += 1

    def failed(self, at: float, *, retry_after_s: float, final: bool) -> None:
        """An attempt failed; `final`: trying again by itself makes no sense."""
        delay_s = self._random.uniform(0.0, self._step_s(self._failures))
        asked_s = min(retry_after_s, self.RETRY_AFTER_MAX_S)
        self._not_before = at + max(delay_s, asked_s, self.REMEMBER_S)
        self._failures += 1
        self.final = final

    def forgive(self) -> None:
        """Somebody acted, so trying makes sense again; the budget still holds."""
        self._not_before = -math.inf
        self.final = False

    def _succeeded(self, at: float) -> None:
        self._attempts.clear()
        self._failures = 0
        self._not_before = -math.inf
        self.calm_until = at + self.REMEMBER_S
        self.final = False

    def _step_s(self, number: int) -> float:
        return min(self.CAP_S, self.FIRST_S * 2.0 ** min(number, 16))

    def _budget_from(self) -> float:
        return self._attempts[0] + self.WINDOW_S if len(self._attempts) == self.BUDGET else -math.inf


class Peak:
    """The largest value of the last hour, in slots of five minutes: twelve, and the one under way.

    Of the slots only those are kept that no later one outdoes: the first that still counts has the largest value.
    """

    SLOT_S: ClassVar[float] = 300.0
    SLOTS: ClassVar[int] = 13

    def __init__(self) -> None:
        self._slots: deque[tuple[int, float]] = deque(maxlen=self.SLOTS)

    def add(self, at: float, value: float) -> None:
        """Note a value."""
        slot = int(at // self.SLOT_S)
        while self._slots and self._slots[-1][1] < value:
            self._slots.pop()
        if not self._slots or self._slots[-1][0] < slot:
            self._slots.append((slot, value))

    def value(self, at: float) -> float:
        """Return the largest value noted in the last hour; 0 without any."""
        oldest = int(at // self.SLOT_S) - self.SLOTS
        for slot, value in self._slots:
            if slot > oldest:
                return value
        return 0.0
