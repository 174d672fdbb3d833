"""Clocks that jump and machines that sleep, and the states that `status` names."""

from __future__ import annotations

import math

import pytest

from broker.engine.vocabulary import Plan, State, Trouble
from broker.model import Timing
from tests.engine.simulation import Simulation

YEAR_S = 365 * 86_400.0


def _sleep(life: Simulation, seconds: float) -> Simulation:
    """Suspend: both clocks count it, but nothing could act meanwhile."""
    return life.after(seconds)


@pytest.mark.parametrize("jump_s", [3600.0, YEAR_S])
def test_a_clock_set_forward_kills_a_token(jump_s: float) -> None:
    """By the time of day it is over: an ask waits for a new one."""
    life = Simulation().holding().set_clock(jump_s)
    assert life.ask() == Plan(fetch=True, wait_s=math.inf)


def test_a_clock_set_back_gives_a_token_no_more_life() -> None:
    """Since its receipt a lifetime has passed: it is dead, whatever the time of day says."""
    life = Simulation().holding().set_clock(-YEAR_S)
    assert life.remaining_s() == 3600
    assert life.after(3600).ask() == Plan(fetch=True, wait_s=math.inf)


def test_a_dead_token_stays_dead_when_the_clock_is_set_back() -> None:
    """A jump there and back is enough; and the source's word for the same token changes nothing."""
    life = Simulation().holding().set_clock(YEAR_S)
    assert life.life.state(life.now) is State.EXPIRED
    life.set_clock(-YEAR_S)
    assert life.ask() == Plan(fetch=True, wait_s=math.inf)
    life.give("fake-token-1", 3600)
    assert life.life.state(life.now) is State.FAILING
    assert life.ask() == Plan()


def test_a_token_that_died_unnoticed_during_its_fetch_is_not_taken_again() -> None:
    """Death is established before the answer is judged."""
    life = Simulation().holding(lifetime_s=60, ttl_s=0)
    assert life.after(40).tick()
    life.after(20).set_clock(-30)
    assert not life.give("fake-token-1", 30)
    assert life.life.failure is not None


def test_a_night_asleep_kills_a_token() -> None:
    """The time since receipt counts suspend."""
    life = _sleep(Simulation().holding(), 10 * 3600).set_clock(-10 * 3600)
    assert life.ask() == Plan(fetch=True, wait_s=math.inf)


def test_a_jump_re_evaluates_when_to_refresh() -> None:
    """After a jump that left too little, the next look fetches."""
    life = Simulation().holding()
    assert life.due_in_s() == pytest.approx(2400)
    assert not life.after(60).tick()
    assert life.set_clock(3000).tick()


def test_a_jump_ends_no_backoff_and_no_budget() -> None:
    """Pauses are measured on the clock that does not jump."""
    life = Simulation()
    life.ask()
    life.fail(retry_after_s=100)
    assert life.set_clock(YEAR_S).ask() == Plan()
    assert life.set_clock(-2 * YEAR_S).after(99).ask() == Plan()
    assert life.after(1).ask().fetch


@pytest.mark.parametrize("lifetime_s", [1.0, 60.0, 3600.0, 1e9])
@pytest.mark.parametrize("jump_s", [-YEAR_S, -1.0, 0.0])
def test_a_token_never_outlives_its_lifetime(lifetime_s: float, jump_s: float) -> None:
    """By both clocks, for every lifetime."""
    life = Simulation().holding(lifetime_s=lifetime_s, ttl_s=0).set_clock(jump_s)
    life.after(lifetime_s * 0.999)
    assert life.remaining_s() > 0
    life.after(lifetime_s * 0.001 + 1e-3)
    assert life.ask(0).wait_s == math.inf


def test_the_states_have_the_names_that_status_promises() -> None:
    """One walk through all of them."""
    life = Simulation(Timing(idle_after_s=100_000))
    seen = [life.life.state(life.now)]

    def note() -> None:
        seen.append(life.life.state(life.now))

    life.ask()
    life.fail()
    note()
    life.after(10).ask()
    life.give("fake-token-1", 3600)
    note()
    life.after(3300)
    note()
    life.after(300)
    note()
    life.ask()
    life.fail(Trouble.LOGIN)
    note()
    assert seen == [State.EMPTY, State.FAILING, State.FRESH, State.STALE, State.EXPIRED, State.NEEDS_LOGIN]
    assert [str(state) for state in State] == ["empty", "fresh", "stale", "expired", "failing", "needs-login"]


def test_nothing_is_warned_of_without_a_token() -> None:
    """Then the state itself says what is wrong."""
    life = Simulation()
    life.ask()
    life.fail()
    assert life.warned() == []


def test_what_happened_is_counted() -> None:
    """`status` shows how often."""
    life = Simulation().holding()
    life.served()
    life.reject()
    life.ask()
    life.fail()
    counters = life.life.counters
    assert (counters.served, counters.refreshes, counters.failures, counters.rejections) == (1, 1, 1, 1)
    assert life.life.last_refresh == life.now
