"""What a token's destination means for its release, for every way to steer Claude Code that is known.

That the table tells the truth about Claude Code is tested on the real one: tests/real/test_destination.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from broker.engine.destination import Allowed, Refused, judge
from tests.engine.settled import settle
from tests.engine.steering import NAMED, TABLE, Row

GOOD: Final = "http://127.0.0.1:1001"
PLACES: Final = {"good": GOOD, "good_port": "1001", "thief": "http://127.0.0.1:1002", "thief_port": "1002", "ca": "x"}
AUDIENCE: Final = (GOOD, f"http://{NAMED}", f"https://{NAMED}")


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_a_token_is_refused_wherever_it_could_be_steered(row: Row, tmp_path: Path) -> None:
    """Every row of the table gets its verdict, and every refusal is one line that names what is at fault."""
    verdict = judge(settle(row, tmp_path, PLACES, {}).known(), AUDIENCE, frozenset())
    assert isinstance(verdict, Refused) == row.refused, verdict
    if isinstance(verdict, Refused):
        assert verdict.reason.isprintable()
        assert (verdict.file or verdict.key) in verdict.reason


def test_whatever_reaches_a_thief_is_refused() -> None:
    """The table itself: no way on which a token was stolen is called harmless."""
    assert [row.name for row in TABLE if row.stolen and not row.refused] == []


@pytest.mark.parametrize("row", [row for row in TABLE if not row.refused], ids=lambda row: row.name)
def test_an_allowed_token_names_where_it_may_go(row: Row, tmp_path: Path) -> None:
    """Only destinations within the audience are named."""
    verdict = judge(settle(row, tmp_path, PLACES, {}).known(), AUDIENCE, frozenset())
    assert verdict == Allowed((GOOD,))
