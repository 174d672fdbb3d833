"""What to change where tokens are too short for those who ask: the numbers that would fit."""

from __future__ import annotations

from typing import Final

from broker.engine.vocabulary import Warn

YOUNG: Final = 1 / 4
"""Share of its lifetime during which a token is not replaced, except on rejection: no hot zone."""


def room_s(lifetime_s: float) -> float:
    """Give how much life a token of this lifetime can be asked to have left: it is then young no longer."""
    return (1 - YOUNG) * lifetime_s


def too_long_ttl(lifetime_s: float, min_validity_s: float) -> Warn:
    """Warn that callers keep tokens longer than their lifetime can hold, and name the TTL that would fit."""
    fits_s = room_s(lifetime_s) - min_validity_s
    advice = f"set CLAUDE_CODE_API_KEY_HELPER_TTL_MS to at most {fits_s * 1000:.0f}"
    if fits_s < YOUNG * lifetime_s:
        advice = (
            f"set CLAUDE_CODE_API_KEY_HELPER_TTL_MS to at most {YOUNG * lifetime_s * 1000:.0f}"
            f' and min_validity to at most "{YOUNG * lifetime_s * 1000:.0f}ms"'
        )
    return Warn("ttl-too-long", f"tokens live {lifetime_s:.0f}s, too short for how long callers keep them; {advice}")
