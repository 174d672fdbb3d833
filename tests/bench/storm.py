"""A crowd on a cold credential: 500 helpers at once, and a source that takes a second.

The yardstick is 500 `/bin/true`, started the same way in the same run: what so many processes cost in any case.
"""

from __future__ import annotations

import statistics
import sys
from typing import Final

from tests.bench.figure import Figure, show
from tests.bench.measure import BIN_TRUE, Command, storm_seconds
from tests.bench.place import daemon
from tests.real.installed import HELPER, Place

CROWD: Final = 500
SOURCE_S: Final = 1.0
ROUNDS: Final = 5
TRUES: Final = 3
"""The last answer may come so many times the yardstick after the source's."""


def figures() -> list[Figure]:
    """Send a crowd to one cold credential after the other, a crowd of `/bin/true` before each."""
    names = [f"cold-{number}" for number in range(ROUNDS)]
    with daemon("".join(_credential(name) for name in names)) as place:
        trues, crowds = [], []
        for name in names:
            trues.append(storm_seconds(CROWD, BIN_TRUE))
            crowds.append(_crowd_seconds(place, name))
        fetches = max(place.credential(name)["refreshes"] for name in names)
    true_s, crowd_s = statistics.median(trues), statistics.median(crowds)
    detail = f"the last after {crowd_s:.2f} s; {CROWD} /bin/true take {true_s * 1000:.0f} ms"
    return [
        Figure(f"{CROWD} helpers, cold: fetches", fetches, 1, unit="", detail="all answered, all with the same token"),
        Figure(
            f"{CROWD} helpers, cold: (last - {SOURCE_S:g} s) / true",
            (crowd_s - SOURCE_S) / true_s,
            TRUES,
            detail=detail,
        ),
    ]


def _crowd_seconds(place: Place, name: str) -> float:
    answers = place.folder / f"answers-{name}"
    seconds = storm_seconds(CROWD, Command([str(HELPER), name], place.env, stdout=answers))
    tokens = answers.read_text().split()
    if len(tokens) != CROWD or len(set(tokens)) != 1:
        raise RuntimeError(f"{len(tokens)} of {CROWD} helpers were answered, with {len(set(tokens))} different tokens")
    return seconds


def _credential(name: str) -> str:
    return f"""
[credentials.{name}]
source = "demo"
delay = "{SOURCE_S:g}s"
lifetime = "1h"
"""


if __name__ == "__main__":
    sys.exit(show(figures()))
