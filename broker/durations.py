"""Durations as people write them: `"90s"`, `"15m"`, `"1h30m"`."""

from __future__ import annotations

import re
from typing import Final, NewType

Duration = NewType("Duration", float)
"""Seconds, more than 0; written as text with its unit in the config."""

MAX_S: Final = 3650 * 86400.0
"""Ten years: anything longer is a slip, and would overflow a date."""

_UNITS_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART: Final = r"([0-9]{1,12}(?:\.[0-9]{1,6})?)(ms|s|m|h|d)"
_WHOLE: Final = re.compile(f"(?:{_PART})+", re.ASCII)

EXPECTED: Final = 'a duration such as "90s", "15m" or "8h"'


def parse(text: str) -> Duration:
    """Read one or several numbers with their units (ms, s, m, h, d) as seconds.

    Raises `ValueError`, without the text, where it is anything else, not above zero, or above ten years.
    """
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"expected {EXPECTED}")
    seconds = sum(float(number) * _UNITS_S[unit] for number, unit in re.findall(_PART, text))
    if not 0 < seconds <= MAX_S:
        raise ValueError(f"expected {EXPECTED}, more than 0 and at most 3650d")
    return Duration(seconds)
