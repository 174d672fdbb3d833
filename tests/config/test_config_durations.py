"""Durations as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker import durations


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("8h", 28_800), ("1d", 86_400), ("250ms", 0.25), ("1.5h", 5_400), ("1h30m", 5_400)],
)
def test_a_duration_is_numbers_with_units(text: str, seconds: float) -> None:
    """One or several, whole or decimal, milliseconds to days."""
    assert durations.parse(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "90",
        "s",
        "90 s",
        " 90s",
        "90s ",
        "-1s",
        "+1s",
        "1e3s",
        "1w",
        "90S",
        "1.s",
        ".5s",
        "1,5s",
        "\u0661s",
        "90s\n",
    ],
)
def test_anything_else_is_refused_unquoted(text: str) -> None:
    """A number alone, too: nobody can say whether seconds or milliseconds were meant."""
    with pytest.raises(ValueError, match=r'^expected a duration such as "90s"'):
        durations.parse(text)


@pytest.mark.parametrize("text", ["0s", "0.000000ms", "3651d", "999999999999d"])
def test_a_duration_is_more_than_none_and_less_than_for_ever(text: str) -> None:
    """Zero would be a hot loop, and a century overflows dates."""
    with pytest.raises(ValueError, match="more than 0 and at most 3650d"):
        durations.parse(text)


@given(st.text(alphabet="0123456789.smhd ", max_size=30) | st.text(max_size=10))
def test_any_text_is_a_duration_within_bounds_or_an_error(text: str) -> None:
    """Nothing else comes out, and no other exception."""
    try:
        assert 0 < durations.parse(text) <= durations.MAX_S
    except ValueError as error:
        assert str(error).startswith("expected a duration")  # noqa: PT017  # either outcome is right
