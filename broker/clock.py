"""Time, read in one place so that tests can set it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

# Linux's CLOCK_MONOTONIC stops in suspend; CLOCK_BOOTTIME does not. macOS's CLOCK_MONOTONIC counts suspend.
_SUSPEND_AWARE = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


@dataclass(frozen=True, slots=True)
class Now:
    """One moment on two clocks, both in seconds.

    `wall` is the time of day as epoch seconds: expiries are written in it, and it can jump. `mono` never goes
    back and counts time asleep; only differences of it mean anything.
    """

    wall: float
    mono: float


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> Now:
        """Read both clocks."""


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> Now:
        """Read both clocks."""
        return Now(time.time(), time.clock_gettime(_SUSPEND_AWARE))
