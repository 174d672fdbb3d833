"""How long callers wait for a key that is in hand, while the server that it came from answers nothing."""

from __future__ import annotations

import time
from typing import Final

from tests.real.company import Company
from tests.real.installed import Place

BRIEF_S: Final = 0.5
"""The longest that anybody with a key in hand waits for a newer one (`engine/life.py`)."""

_TOKEN: Final = "/v1/token?credential=work"
_PAUSE_S: Final = 0.02


def waits(bao: Company, place: Place, for_s: float) -> tuple[list[float], list[float]]:
    """Ask a running daemon for `work` over and over, for so long each: with the server there, then with it paused."""
    assert place.call("GET", _TOKEN)[0] == 200
    before = _each(place, for_s)
    bao.pause()
    try:
        return before, _each(place, for_s)
    finally:
        bao.resume()


def _each(place: Place, for_s: float) -> list[float]:
    found = []
    end = time.monotonic() + for_s
    while (began := time.monotonic()) < end:
        assert place.call("GET", _TOKEN)[0] == 200
        found.append(time.monotonic() - began)
        time.sleep(_PAUSE_S)
    return found
