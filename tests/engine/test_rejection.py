"""What follows when upstream refuses a token."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest

from broker.engine.vocabulary import Plan, State, Trouble
from broker.errors import DeadlineExceeded
from broker.model import Timing
from tests.engine.simulation import Simulation

WAITING = Plan(fetch=False, wait_s=math.inf)
FETCHING = Plan(fetch=True, wait_s=math.inf)


def test_a_refused_token_is_replaced_before_anybody_gets_it_again() -> None:
    """The ask waits for the new token, though the old one has not expired; and so does everybody else's."""
    life = Simulation().holding()
    assert life.after(1).reject()
    assert life.ask() == FETCHING
    assert [life.ask() for _ in range(9)] == [WAITING] * 9, "ten sessions after one revocation: one fetch"
    with pytest.raises(DeadlineExceeded):
        life.served()
    assert life.give("fake-token-2")
    assert life.ask() == Plan()
    assert life.served() == "fake-token-2"
    assert life.warned() == []


def test_rejection_replaces_even_the_youngest_token() -> None:
    """The quarter of a lifetime protects no token that upstream refuses."""
    life = Simulation().holding()
    assert life.reject()
    assert life.ask() == FETCHING


def test_the_refusal_of_an_older_token_is_no_news() -> None:
    """Whoever still speaks of the token before gets the present one, and nothing is fetched."""
    life = Simulation().holding()
    assert life.life.held is not None
    old = life.life.held.serial
    life.reject()
    life.ask()
    life.give("fake-token-2")
    assert not life.life.reject(life.now, old)
    assert life.ask() == Plan()
    assert life.life.counters.rejections == 1


def test_the_refusal_of_a_dead_token_is_no_news() -> None:
    """It is replaced anyway."""
    life = Simulation().holding(lifetime_s=60)
    assert not life.after(60).reject()
    assert not Simulation().life.reject(life.now, 1)


def test_refreshes_forced_by_rejection_are_damped() -> None:
    """At most one per `refresh_interval_min`: meanwhile the old token is served, with a warning."""
    life = Simulation(Timing(refresh_interval_min_s=30)).holding()
    life.reject()
    assert life.ask().fetch
    life.give("fake-token-2")
    life.after(5).reject()
    assert life.ask() == Plan()
    assert life.served() == "fake-token-2"
    assert life.warned() == ["rejected"]
    assert life.life.state(life.now) is State.STALE
    assert life.due_in_s() == pytest.approx(25), "it is replaced as soon as damping allows, asked or not"
    assert life.after(25).ask() == FETCHING


@pytest.mark.parametrize("act", ["tick", "force", "inputs_changed", "short"])
def test_other_refreshes_do_not_count_for_damping(act: str) -> None:
    """A token just fetched for another reason is replaced at once when upstream refuses it."""
    life = Simulation(Timing(refresh_interval_min_s=600)).holding()
    life.after(3300 if act == "short" else 2400)
    acts: dict[str, Callable[[], bool]] = {
        "tick": life.tick,
        "force": lambda: life.life.force(life.now),
        "inputs_changed": lambda: life.life.inputs_changed(life.now),
        "short": lambda: life.ask().fetch,
    }
    assert acts[act]()
    life.give("fake-token-2")
    life.after(1).reject()
    assert life.ask() == FETCHING


def test_damping_holds_back_no_refresh_that_is_due_anyway() -> None:
    """A refused token under long damping is still replaced ahead of time."""
    life = Simulation(Timing(refresh_interval_min_s=50_000)).holding()
    life.reject()
    life.ask()
    life.give("fake-token-2", 3600)
    life.after(5).reject()
    assert life.due_in_s() == pytest.approx(2400 - 5)
    assert life.after(2400).tick()
    life.give("fake-token-3")
    life.reject()
    assert life.ask() == Plan(), "and that refresh was not forced: damping counts from the one that was"


def test_a_refresh_that_a_damped_rejection_did_not_force_extends_no_damping() -> None:
    """Damping runs from the last forced refresh, however many ordinary ones come between."""
    life = Simulation(Timing(refresh_interval_min_s=100)).holding(lifetime_s=600, ttl_s=0)
    life.reject()
    life.ask(0)
    life.give("fake-token-2", 60.0)
    life.after(50).reject()
    assert life.ask(0).fetch, "short: an ordinary refresh, though a rejection stands too"
    life.give("fake-token-3", 600)
    life.after(50).reject()
    assert life.ask(0) == FETCHING


def test_when_the_forced_refresh_fails_the_old_token_is_served() -> None:
    """A refused token is better than none while it is unexpired; the next attempt comes after backoff and damping."""
    life = Simulation().holding()
    life.reject()
    life.ask()
    life.fail()
    assert life.ask() == Plan()
    assert life.served() == "fake-token-1"
    assert life.warned() == ["refresh-failing", "rejected"]
    assert life.after(9).ask() == Plan(), "backoff is over, damping is not"
    assert life.after(1).ask() == FETCHING


def test_when_the_source_fails_for_good_the_refused_token_is_served_until_it_dies() -> None:
    """No attempt, and no wait, until somebody acts."""
    life = Simulation().holding()
    life.reject()
    life.ask()
    life.fail(Trouble.PERMANENT)
    assert life.after(600).ask() == Plan()
    assert life.served() == "fake-token-1"
    assert life.due_in_s() is None


@pytest.mark.parametrize("lifetime_s", [None, 3600.0])
def test_a_source_that_gives_the_refused_key_again_is_marked_not_hammered(lifetime_s: float | None) -> None:
    """The same value again is served, with a warning; each further refusal is tried half as often."""
    life = Simulation().holding(lifetime_s=lifetime_s)
    end = life.now.mono + 3600
    begun = []
    for _ in range(1200):  # a session that runs its helper again every second, for twenty minutes
        life.after(1).reject()
        if life.ask().fetch:
            begun.append(life.now.mono)
            assert not life.give("fake-token-1", None if lifetime_s is None else end - life.now.mono)
            assert life.ask() == Plan()
        assert life.served() == "fake-token-1"
        assert "upstream-refuses" in life.warned()
    gaps = [later - earlier for earlier, later in pairwise(begun)]
    assert gaps == pytest.approx([20, 40, 80, 160, 300, 300], abs=1)


def test_without_damping_a_refused_static_key_is_still_not_hammered() -> None:
    """`refresh_interval_min = "0s"` is no licence to ask a source every second for the same key."""
    life = Simulation(Timing(refresh_interval_min_s=0)).holding(lifetime_s=None)
    begun = 0
    for _ in range(600):
        life.after(1).reject()
        if life.ask().fetch:
            begun += 1
            life.give("fake-token-1", None)
    assert begun <= 12


def test_a_new_key_at_last_ends_the_mark() -> None:
    """Warning and longer damping go with the refused key."""
    life = Simulation().holding(lifetime_s=None)
    life.reject()
    life.ask()
    life.give("fake-token-1", None)
    assert life.warned() == ["upstream-refuses"]
    assert life.life.inputs_changed(life.after(5).now)
    life.give("fake-token-2", None)
    assert life.warned() == []
    life.after(10).reject()
    assert life.ask() == FETCHING


def test_the_mark_fades_when_nobody_reports_a_refusal_any_more() -> None:
    """Upstream may have taken the key again long ago: `status --check` does not complain for ever."""
    life = Simulation().holding(lifetime_s=None)
    life.reject()
    life.ask()
    life.give("fake-token-1", None)
    life.after(3599)
    assert life.warned() == ["upstream-refuses"]
    life.after(1)
    assert life.warned() == []


def test_a_rejection_is_not_held_back_by_a_source_that_repeats_itself() -> None:
    """A pause between looks for a longer-lived token does not keep a refused one in service."""
    life = Simulation().holding()
    life.after(2400).tick()
    life.give("fake-token-1", 1200)
    life.after(1).reject()
    assert life.ask() == FETCHING


def test_a_fetch_that_began_before_the_refusal_proves_nothing_by_the_same_token() -> None:
    """Its answer may be older than the revocation: another fetch follows, and the callers go on waiting."""
    life = Simulation().holding()
    life.after(2400).tick()
    life.reject()
    assert life.ask() == WAITING
    life.give("fake-token-1", 1200)
    assert life.ask() == FETCHING
    assert life.give("fake-token-2")
    assert life.served() == "fake-token-2"
    assert life.warned() == []


def test_a_fetch_that_began_before_the_refusal_mends_it_by_a_new_token() -> None:
    """What is new was not refused."""
    life = Simulation().holding()
    life.after(2400).tick()
    life.reject()
    assert life.ask() == WAITING
    life.give("fake-token-2")
    assert life.ask() == Plan()
    assert life.served() == "fake-token-2"


def test_a_rejection_ends_with_its_token() -> None:
    """Once the refused token died, what comes next is not under suspicion."""
    life = Simulation().holding(lifetime_s=60)
    life.reject()
    life.ask()
    life.fail()
    life.after(60).ask()
    life.give("fake-token-2")
    assert life.life.state(life.now) is State.FRESH
    assert life.warned() == []


def test_a_rate_limited_token_is_kept() -> None:
    """429 is worth a warning for as long as upstream said, and no new token."""
    life = Simulation().holding()
    life.life.limit(life.now, 30)
    life.life.limit(life.now, 10)
    assert life.ask() == Plan()
    assert life.warned() == ["rate-limited"]
    life.after(30)
    assert life.warned() == []


def test_a_refusal_stands_until_the_token_is_replaced() -> None:
    """Whoever tells of it once more meanwhile says nothing new."""
    life = Simulation().holding()
    stood = []
    for step in (life.reject, life.ask, lambda: life.give("fake-token-2")):
        step()
        stood.append(life.life.rejected)
    assert stood == [True, True, False]
