"""What upstream's refusal of the token in hand asks for, and how seldom its source may be troubled with it."""

from __future__ import annotations

import math
from typing import Final

from broker.engine.pacing import Pace

REFUSED_S: Final = 3600.0
"""How long to warn that the source gave a refused token again: nobody reports that upstream takes it at last."""


class Refusal:
    """One credential's refusals. A fetch that heeds one happens at most once per `gap_s` seconds."""

    def __init__(self, gap_s: float) -> None:
        self.stands = False
        """Whether the token in hand was refused and is not replaced yet."""
        self._usual_gap_s = gap_s
        self._gap_s = gap_s
        self._heeding = False
        self._forced_at = -math.inf
        self._useless_until = -math.inf

    def retime(self, gap_s: float) -> None:
        """Follow another damping from now on; a gap that has grown has its reason, and stays."""
        if self._gap_s == self._usual_gap_s:
            self._gap_s = gap_s
        self._usual_gap_s = gap_s

    @property
    def due_at(self) -> float:
        """When (on the `mono` clock) a fetch may heed it; inf where there is nothing to heed."""
        return self._forced_at + self._gap_s if self.stands else math.inf

    def began(self, mono: float) -> None:
        """A fetch began, and heeds what stands now."""
        if mono >= self.due_at:
            self._forced_at = mono
        self._heeding = self.stands

    def fetched(self, mono: float, *, same: bool) -> None:
        """A fetch gave a token: is it mended, or does the source give the refused key again (then ask it less)?"""
        if same and self.stands:
            if not self._heeding:
                return  # the fetch began before the refusal, and says nothing about it
            self._useless_until = mono + REFUSED_S
            gap_s = 2 * max(self._gap_s, Pace.REMEMBER_S)
            self._gap_s = min(gap_s, max(Pace.CAP_S, self._usual_gap_s))
        elif not same:
            self._useless_until = -math.inf
            self._gap_s = self._usual_gap_s
        self.stands = False

    def is_useless(self, mono: float) -> bool:
        """Whether the source lately gave a refused token again."""
        return mono < self._useless_until

    def forget(self) -> None:
        """The token is in hand no longer."""
        self.stands = False
        self._useless_until = -math.inf
