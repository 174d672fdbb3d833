"""How long callers of the last hour wanted to keep their tokens."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker.engine.pacing import Peak

ASKS = st.lists(
    st.tuples(st.sampled_from([0.0, 1.0, 299.0, 300.0, 1800.0, 4000.0]), st.sampled_from([60.0, 90.0, 300.0]))
)


@given(ASKS)
def test_the_largest_wish_of_the_last_hour_counts_and_no_older_one(asks: list[tuple[float, float]]) -> None:
    """Whatever was asked in between: what is remembered of an hour in thirteen slots says the same as all of it."""
    peak, at, noted = Peak(), 0.0, []
    for after_s, wish_s in asks:
        at += after_s
        peak.add(at, wish_s)
        noted.append((at // Peak.SLOT_S, wish_s))
        now = at // Peak.SLOT_S
        assert peak.value(at) == max(wish_s for slot, wish_s in noted if slot > now - Peak.SLOTS)
    assert peak.value(at + 3900) == 0.0
