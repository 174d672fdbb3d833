"""How far this machine's clock is from AWS's, as their answers tell."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import Final

_NOTICED_S: Final = 5.0
"""Less is the second that `Date` is written to, and the way here."""

SIGNATURES_FAIL_S: Final = 240.0
"""STS takes signatures that are up to five minutes off."""


class Skew:
    """AWS's clock less ours, in seconds, by the last answer."""

    def __init__(self) -> None:
        self._measured_s = 0.0

    def note(self, date: str | None) -> None:
        """Take up the `Date` of an answer that came just now."""
        try:
            self._measured_s = parsedate_to_datetime(date or "").timestamp() - time.time()
        except (ValueError, OverflowError, OSError):
            return

    @property
    def seconds(self) -> float:
        """0 where it is nothing to speak of."""
        return self._measured_s if abs(self._measured_s) >= _NOTICED_S else 0.0

    def local(self, theirs: float) -> float:
        """Say when a moment of AWS's clock is by ours, and rather too early: an SDK here believes this clock."""
        return theirs - max(0.0, self.seconds)

    @property
    def words(self) -> str:
        """Say it to a person; empty where it is nothing to speak of."""
        if not self.seconds:
            return ""
        direction = "behind" if self.seconds > 0 else "ahead of"
        return f"this machine's clock is {abs(self.seconds):.0f} s {direction} AWS's; set it (timedatectl set-ntp true)"
