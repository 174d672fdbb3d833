"""How long an answered token still lives, and what an ask waits for."""

from __future__ import annotations

import math

import pytest

from broker.engine.life import BRIEF_WAIT_S
from broker.engine.vocabulary import Plan, Trouble
from broker.errors import DeadlineExceeded, NeedsLogin, SourceFailed
from broker.model import Timing
from tests.engine.simulation import Simulation

STATIC = None


def test_the_first_ask_waits_for_the_source() -> None:
    """Without a token there is nothing to answer, so the caller waits as long as its deadline allows."""
    life = Simulation()
    assert life.ask() == Plan(fetch=True, wait_s=math.inf)
    with pytest.raises(DeadlineExceeded, match="has not answered yet"):
        life.served()
    life.give("fake-token-1")
    assert life.served() == "fake-token-1"


def test_a_token_with_enough_life_is_answered_from_memory() -> None:
    """TTL and slack fit into what is left: no fetch, no wait."""
    life = Simulation().holding(lifetime_s=3600, ttl_s=300)
    assert life.after(60).ask(300) == Plan()
    assert life.served() == "fake-token-1"


@pytest.mark.parametrize(
    ("ttl_s", "left_s", "short"),
    [
        (300.0, 360.0, False),  # exactly TTL + min_validity: enough
        (300.0, 359.9, True),
        (0.0, 60.0, False),  # a person's ask still gets the slack
        (0.0, 59.9, True),
        (86_400.0, 2700.0, False),  # no lifetime of an hour holds a day: three quarters are the best there is
        (86_400.0, 2699.9, True),
    ],
)
def test_a_token_that_is_short_is_waited_for_briefly(ttl_s: float, left_s: float, short: bool) -> None:  # noqa: FBT001  # a table's column
    """Short of TTL + min_validity a better token is fetched first, but a valid one in hand waits 500 ms at most."""
    life = Simulation().holding(lifetime_s=3600, ttl_s=0)
    assert life.after(3600 - left_s).remaining_s() == pytest.approx(left_s)
    plan = life.ask(ttl_s)
    assert (plan.wait_s == BRIEF_WAIT_S == 0.5) is short
    assert life.served() == "fake-token-1", "at the end of the brief wait the valid one is served"


def test_min_validity_is_the_config_s() -> None:
    """The slack above the TTL is the credential's own setting."""
    none = Simulation(Timing(min_validity_s=0)).holding(lifetime_s=3600, ttl_s=0)
    assert none.after(3599).ask(0).wait_s == 0
    ample = Simulation(Timing(min_validity_s=1800)).holding(lifetime_s=3600, ttl_s=0)
    assert ample.after(1801).ask(0).wait_s == BRIEF_WAIT_S


def test_a_ttl_above_the_maximum_counts_as_the_maximum() -> None:
    """One caller that says a year does not turn every token into a short one."""
    life = Simulation(Timing(ttl_max_s=600)).holding(lifetime_s=3600, ttl_s=1e9)
    assert life.after(2000).ask(1e9) == Plan()
    assert life.warned() == []


def test_nobody_waits_while_the_source_backs_off() -> None:
    """A short but valid token is served at once when asking the source would make no sense yet."""
    life = Simulation().holding(lifetime_s=3600)
    assert life.after(3400).ask().wait_s == BRIEF_WAIT_S
    life.fail(retry_after_s=30)
    assert life.after(1).ask() == Plan()
    assert life.served() == "fake-token-1"


def test_a_better_token_that_comes_in_time_is_what_is_answered() -> None:
    """Who waits briefly gets the new token when the source answers within that."""
    life = Simulation().holding(lifetime_s=3600)
    assert life.after(3400).ask().fetch
    life.after(0.4).give("fake-token-2")
    assert life.ask() == Plan()
    assert life.served() == "fake-token-2"


def test_a_static_key_is_never_short() -> None:
    """A key without expiry serves any TTL from memory, for ever."""
    life = Simulation().holding(lifetime_s=STATIC)
    assert life.after(3e8).ask(86_400) == Plan()
    assert life.served() == "fake-token-1"


@pytest.mark.parametrize("lifetime_s", [0.2, 1.0, 8.0, 60.0, 3600.0, 1e9])
def test_a_new_token_is_served_however_long_it_lives(lifetime_s: float) -> None:
    """A lifetime too short for the TTL is served all the same: the best there is, without asking again at once."""
    life = Simulation().holding(lifetime_s=lifetime_s, ttl_s=300)
    assert life.ask(300) == Plan()
    assert life.served() == "fake-token-1"


@pytest.mark.parametrize(("lifetime_s", "short"), [(479.0, True), (481.0, False)])
def test_a_lifetime_that_cannot_hold_the_ttl_is_warned_of(lifetime_s: float, short: bool) -> None:  # noqa: FBT001  # a table's column
    """Below 4/3 of TTL + min_validity `status` says so, naming the TTL that would fit."""
    life = Simulation().holding(lifetime_s=lifetime_s, ttl_s=300)
    found = life.life.warnings(life.now)
    assert [warn.code for warn in found] == (["ttl-too-long"] if short else [])
    if short:
        assert "CLAUDE_CODE_API_KEY_HELPER_TTL_MS to at most 299250" in found[0].message  # 3/4 x 479 s - 60 s


def test_where_only_a_smaller_slack_fits_the_warning_says_that_too() -> None:
    """A lifetime below the slack itself needs a smaller `min_validity`, and the warning's figures really fit."""
    life = Simulation().holding(lifetime_s=8, ttl_s=300)
    (found,) = life.life.warnings(life.now)
    assert 'HELPER_TTL_MS to at most 2000 and min_validity to at most "2000ms"' in found.message
    fitting = Simulation(Timing(min_validity_s=2)).holding(lifetime_s=8, ttl_s=2)
    assert fitting.warned() == []


def test_an_answer_without_a_token_says_what_happened() -> None:
    """Each way of having nothing is an error of its own, with what mends it."""
    life = Simulation()
    life.ask()
    life.fail()
    with pytest.raises(SourceFailed, match=r"the source is down; next try in 1s, or now with: broker refresh"):
        life.served()
    assert life.life.force(life.after(2).now)
    life.fail()
    with pytest.raises(SourceFailed, match=r"next try in 0s, or in 7s with: broker refresh"):
        life.after(3).served()
    life.after(7).ask()
    life.fail(Trouble.PERMANENT)
    with pytest.raises(SourceFailed, match=r"the source is down; when that is mended run: broker refresh"):
        life.served()
    life = Simulation()
    life.ask()
    life.fail(Trouble.LOGIN)
    with pytest.raises(NeedsLogin, match=r"^the source is down$"):
        life.served()


def test_a_token_that_died_between_ask_and_answer_is_not_served() -> None:
    """Even the moment between the two cannot let a dead token through."""
    life = Simulation().holding(lifetime_s=10, ttl_s=0)
    life.after(10)
    with pytest.raises(SourceFailed, match="expired meanwhile"):
        life.served()


def test_an_old_key_is_waited_for_once_a_fetch() -> None:
    """Where the source hangs, the callers of one half second wait; the key in hand is most likely good."""
    life = Simulation(Timing(max_age_s=300)).holding(lifetime_s=STATIC)
    assert life.after(300).ask() == Plan(fetch=True, wait_s=BRIEF_WAIT_S)
    assert life.after(0.2).ask().wait_s == pytest.approx(BRIEF_WAIT_S - 0.2)
    assert life.after(0.3).ask() == Plan(fetch=False, wait_s=0.0)
    assert life.after(8).ask() == Plan(fetch=False, wait_s=0.0)
