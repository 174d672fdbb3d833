"""One sign-in: the token that the server gave us, and how long it will do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from broker.secret import Secret

SPENT: Final = 1 / 3
"""Share of a token's first lifetime that is left when it is renewed, or given up where it cannot be."""
_JITTER: Final = 1 / 10
_LONGEST_S: Final = 1e10
_FULL: Final = 2 / 3
"""A renewal that gives less than this share of the first lifetime runs into the token's longest life."""


@dataclass(slots=True, eq=False)
class Login:
    """A token and its life; all moments on the suspend-proof clock, in seconds.

    `ours`: made by signing in, so it is ours to revoke. `known`: the server has confirmed that it is alive.
    """

    token: Secret
    ours: bool
    known: bool
    began: float
    lifetime_s: float
    renewable: bool
    ends_at: float
    renew_at: float
    over: bool = False

    @classmethod
    def made(cls, token: Secret, at: float, lifetime_s: float, *, renewable: bool, ours: bool, known: bool) -> Login:
        """Begin one; a lifetime of 0 means that it has no end."""
        whole_s = lifetime_s if lifetime_s > 0 else math.inf
        login = cls(token, ours, known, at, whole_s, renewable and whole_s < math.inf, math.inf, math.inf)
        login._lives(at, whole_s)
        return login

    def renewed(self, at: float, auth: Mapping[str, Any]) -> None:
        """Take up what a renewal gave."""
        lifetime_s = seconds(auth.get("lease_duration"))
        self.renewable = bool(auth.get("renewable")) and lifetime_s >= _FULL * self.lifetime_s
        self._lives(at, lifetime_s)

    def usable(self, at: float) -> bool:
        """Whether to ask for something by it; otherwise a new one is due."""
        return not self.over and self.ends_at - at > (0.0 if self.renewable else SPENT * self.lifetime_s)

    def _lives(self, at: float, lifetime_s: float) -> None:
        self.ends_at = at + lifetime_s
        ahead_s = SPENT + Random().random() * _JITTER  # noqa: S311  # jitter needs no cryptography
        self.renew_at = at + (1 - ahead_s) * lifetime_s if self.renewable else math.inf


def seconds(value: object) -> float:
    """Read a duration of the server's; 0 where it is none."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= _LONGEST_S:
        return 0.0
    return float(value)
