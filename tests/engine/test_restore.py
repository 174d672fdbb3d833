"""What a restart makes of the token that an earlier run had."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.model import Timing
from tests.engine.simulation import START, Simulation

HOUR_S = 3600.0
SPANS = st.one_of(st.floats(0, 10_000), st.sampled_from([0.0, 0.05, HOUR_S, 1e8]))
JUMPS = st.one_of(st.floats(-1e5, 1e5), st.sampled_from([0.0, -HOUR_S, HOUR_S, -1e9, 1e9]))


def test_it_is_served_without_asking_the_source() -> None:
    """With what life it has left, and its age counts on: the next refresh comes when it would have come."""
    sim = Simulation().holding(lifetime_s=HOUR_S)
    due_in_s = sim.due_in_s()
    assert due_in_s is not None
    assert sim.restarted(600)
    assert not sim.ask().fetch
    assert sim.served() == "fake-token-1"
    assert sim.remaining_s() == pytest.approx(3000)
    assert sim.due_in_s() == pytest.approx(due_in_s - 600)


def test_nothing_is_fetched_before_somebody_asks() -> None:
    """A daemon that starts and is not used costs the source nothing."""
    sim = Simulation().holding(lifetime_s=HOUR_S)
    assert sim.restarted(3000)
    assert sim.due_in_s() is None
    assert not sim.tick()


@pytest.mark.parametrize("same_boot", [True, False])
def test_one_that_died_meanwhile_is_not_taken_up(same_boot: bool) -> None:  # noqa: FBT001  # a parameter
    """In this boot or another."""
    assert not Simulation().holding(lifetime_s=HOUR_S).restarted(HOUR_S, same_boot=same_boot)


def test_a_clock_set_back_revives_nothing_in_the_same_boot() -> None:
    """The clock that counts suspend goes on, whatever the time of day says."""
    sim = Simulation().holding(lifetime_s=HOUR_S)
    assert not sim.restarted(HOUR_S, set_s=-HOUR_S)
    sim = Simulation().holding(lifetime_s=HOUR_S)
    assert sim.restarted(HOUR_S - 10, set_s=-HOUR_S)
    assert sim.remaining_s() == pytest.approx(10)


def test_a_clock_set_back_before_another_boot_makes_it_dead() -> None:
    """Earlier than its own receipt: nobody can say how old it is, not even of a key without end."""
    for lifetime_s in (HOUR_S, None):
        assert not Simulation().holding(lifetime_s=lifetime_s).restarted(10, set_s=-11, same_boot=False)
    assert Simulation().holding(lifetime_s=HOUR_S).restarted(10, set_s=-5, same_boot=False)


def test_a_steady_clock_of_somewhere_else_makes_it_dead() -> None:
    """The same boot, but a clock that is behind the receipt (a time namespace): its age is not known."""
    sim = Simulation().holding(lifetime_s=HOUR_S)
    receipt = sim.receipt()
    sim.now = type(START)(sim.now.wall + 10, START.mono - 100)
    sim.__post_init__()
    assert not sim.life.restore(sim.now, receipt)


def test_a_static_key_is_served_at_once_and_fetched_anew_at_the_first_ask() -> None:
    """Nobody knows what became of it meanwhile; the caller does not wait for that."""
    sim = Simulation().holding(lifetime_s=None)
    assert sim.restarted(10)
    plan = sim.ask()
    assert (plan.fetch, plan.wait_s) == (True, 0.0)
    assert sim.served() == "fake-token-1"
    assert sim.give("fake-token-2", None)
    assert sim.served() == "fake-token-2"
    assert not sim.after(60).ask().fetch, "once is enough"


def test_a_static_key_that_cannot_be_confirmed_is_served_and_said_to_be_stale() -> None:
    """A failing source is invisible to the caller, not to whoever looks at the status."""
    sim = Simulation().holding(lifetime_s=None)
    sim.restarted(10)
    sim.ask()
    sim.fail()
    assert sim.served() == "fake-token-1"
    assert str(sim.life.state(sim.now)) == "stale"
    assert sim.due_in_s() is not None, "it is tried again by itself"


def test_a_static_key_past_its_max_age_is_waited_for_briefly() -> None:
    """Its age counts on over the restart."""
    sim = Simulation(Timing(max_age_s=HOUR_S)).holding(lifetime_s=None)
    sim.restarted(2 * HOUR_S)
    assert sim.ask().wait_s == 0.5


def test_what_is_there_already_is_not_replaced() -> None:
    """A store that opens late brings nothing back that was fetched anew meanwhile."""
    old = Simulation().holding("fake-token-old").receipt()
    sim = Simulation().holding("fake-token-1")
    assert not sim.life.restore(sim.now, old)
    assert sim.served() == "fake-token-1"


def test_counters_begin_anew_and_the_moment_of_receipt_is_kept() -> None:
    """Counters are since the daemon's start; when the token came is a fact about the token."""
    sim = Simulation().holding()
    sim.restarted(10)
    assert sim.life.counters.refreshes == 0
    assert sim.life.last_refresh is not None
    assert sim.life.last_refresh.wall == START.wall


def test_a_token_that_was_forgotten_is_fetched_and_is_another_one_to_the_sessions() -> None:
    """After `broker lock` nothing is in hand; what comes then has a serial of its own."""
    sim = Simulation().holding()
    assert sim.life.held is not None
    serial = sim.life.held.serial
    sim.reject()
    sim.life.forget()
    assert str(sim.life.state(sim.now)) == "empty"
    plan = sim.ask()
    assert (plan.fetch, plan.wait_s) == (True, math.inf)
    sim.give("fake-token-1")
    assert sim.life.held.serial == serial + 1
    assert sim.warned() == []


def test_a_token_that_was_forgotten_can_be_ordered_at_once() -> None:
    """`broker refresh` right after `broker unlock` fetches: damping is for those who have one just ordered."""
    sim = Simulation().holding()
    assert sim.life.force(sim.now)
    sim.give("fake-token-2")
    assert not sim.life.force(sim.after(1).now)
    sim.life.forget()
    assert sim.life.force(sim.now)


def test_a_fetch_that_was_called_off_counts_as_no_failure_and_can_be_begun_again() -> None:
    """`broker lock` interrupts it; the next ask after `broker unlock` fetches at once."""
    sim = Simulation()
    sim.ask()
    sim.life.interrupted()
    assert sim.life.counters.failures == 0
    assert sim.ask().fetch


@given(
    lifetime_s=st.floats(0.2, 1e6),
    before=SPANS,
    off=SPANS,
    jump_before=JUMPS,
    jump=JUMPS,
)
def test_it_lives_no_longer_than_either_clock_says(
    lifetime_s: float, before: float, off: float, jump_before: float, jump: float
) -> None:
    """Whenever the clock was set, the steady clock and the time of day both bound a restored token."""
    sim = Simulation().holding(lifetime_s=lifetime_s)
    sim.after(before).set_clock(jump_before)
    if sim.restarted(off, set_s=jump):
        assert sim.remaining_s() <= lifetime_s - (before + off) + 1e-3
        assert sim.remaining_s() <= START.wall + lifetime_s - sim.now.wall + 1e-3


@given(lifetime_s=st.floats(0.2, 1e6), off=SPANS, jump=JUMPS)
def test_another_boot_trusts_the_time_of_day_only_forwards(lifetime_s: float, off: float, jump: float) -> None:
    """What is restored there was received before now by the time of day, and not too long ago."""
    sim = Simulation().holding(lifetime_s=lifetime_s)
    if sim.restarted(off, set_s=jump, same_boot=False):
        assert sim.now.wall >= START.wall
        assert sim.remaining_s() <= lifetime_s - (sim.now.wall - START.wall) + 1e-3
