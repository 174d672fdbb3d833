"""Until when callers may use the token in hand, for a source that takes back what nobody uses any more."""

from __future__ import annotations

import math


class Promises:
    """What callers of one credential were promised; a token is named by its serial, times are `mono`."""

    def __init__(self) -> None:
        self._serial: int | None = None
        self._until = -math.inf

    def made(self, serial: int, until: float) -> None:
        """A caller was given this token, to keep until then."""
        self._until = max(self._until, until) if self._serial in {serial, None} else until
        self._serial = serial

    def unknown(self) -> None:
        """The token in hand was given out by an earlier run, nobody knows for how long."""
        self._serial, self._until = None, math.inf

    def left_s(self, serial: int, now: float) -> float:
        """For how many seconds callers may still use this token."""
        return max(0.0, self._until - now) if self._serial in {serial, None} else 0.0
