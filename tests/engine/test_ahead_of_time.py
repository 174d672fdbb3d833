"""When a source is asked without anybody waiting."""

from __future__ import annotations

import pytest

from broker.engine.vocabulary import Plan
from broker.model import Timing
from tests.engine.simulation import Simulation

LAST_MOMENT = 1 - 1e-9
DAY_S = 86_400.0


def test_nothing_is_fetched_before_somebody_asks() -> None:
    """A daemon that nobody asks bothers no source, whatever else happens."""
    life = Simulation()
    assert not life.after(DAY_S).tick()
    assert not life.life.inputs_changed(life.now)
    assert life.due_in_s() is None
    assert life.life.counters.refreshes == 0


@pytest.mark.parametrize(
    ("lifetime_s", "ttl_s", "jitter", "at_s"),
    [
        (3600.0, 300.0, 0.0, 2400.0),  # a third is left
        (3600.0, 300.0, LAST_MOMENT, 2040.0),  # ... and up to a tenth of the lifetime earlier
        (3600.0, 1740.0, 0.0, 1800.0),  # the largest required life is more than a third
        (3600.0, 1740.0, LAST_MOMENT, 1440.0),
        (3600.0, DAY_S, 0.0, 900.0),  # never younger than a quarter
        (3600.0, DAY_S, LAST_MOMENT, 900.0),
        (8.0, 2.0, 0.0, 2.0),
        (1e9, 300.0, 0.0, 1e9 * 2 / 3),
    ],
)
def test_a_token_is_replaced_in_time(lifetime_s: float, ttl_s: float, jitter: float, at_s: float) -> None:
    """At a third of its life, or at what callers need, whichever comes first; earlier by jitter; never too young."""
    life = Simulation(Timing(idle_after_s=1e10), jitter).holding(lifetime_s=lifetime_s, ttl_s=ttl_s)
    # Asked again shortly before, so that the last hour's peak still holds after days.
    life.after(at_s - min(1.0, at_s / 10)).ask(min(ttl_s, 300.0) if ttl_s < DAY_S else ttl_s)
    assert life.due_in_s() == pytest.approx(min(1.0, at_s / 10), rel=1e-3)
    assert not life.tick()
    assert life.after(min(1.0, at_s / 10) + 1e-3).tick()


def test_the_largest_need_of_the_last_hour_decides() -> None:
    """One session with a long TTL is served as well as the others, for an hour after it was last seen."""
    life = Simulation().holding(lifetime_s=36_000, ttl_s=20_000)
    life.ask(60)
    assert life.due_in_s() == pytest.approx(36_000 - 20_060)
    life.after(3600).ask(60)
    assert life.due_in_s() == pytest.approx(36_000 - 20_060 - 3600)
    life.after(600).ask(60)
    assert life.due_in_s() == pytest.approx(24_000 - 4200)


def test_the_fetch_ahead_disturbs_nobody() -> None:
    """While it runs, and when it fails, the token in hand is served without a wait."""
    life = Simulation().holding()
    assert life.after(2400).tick()
    assert life.ask() == Plan()
    assert life.served() == "fake-token-1"
    life.fail()
    assert life.ask() == Plan()
    assert life.served() == "fake-token-1"


def test_an_ask_that_comes_after_the_time_starts_the_fetch_and_does_not_wait() -> None:
    """After a sleep no timer has fired yet: the ask itself begins what is due."""
    life = Simulation().holding()
    assert life.after(2500).ask() == Plan(fetch=True, wait_s=0)


def test_nothing_is_fetched_when_nobody_asked_for_long() -> None:
    """After `idle_after` refreshing ahead stops; the next ask begins anew."""
    life = Simulation(Timing(idle_after_s=1800)).holding(lifetime_s=2400)
    assert life.due_in_s() == pytest.approx(1600)
    life.after(1800)
    assert life.due_in_s() is None
    assert not life.tick()
    assert life.ask() == Plan(fetch=True, wait_s=0), "600 s are left: enough for this ask, and due"


def test_idle_after_of_nothing_still_serves_asks() -> None:
    """With `idle_after = "0s"` nothing is ever fetched ahead, and every ask is served."""
    life = Simulation(Timing(idle_after_s=0)).holding()
    assert life.after(3000).due_in_s() is None
    assert not life.tick()
    assert life.ask().fetch


@pytest.mark.parametrize(("jitter", "at_s"), [(0.0, 600.0), (LAST_MOMENT, 540.0)])
def test_a_key_without_expiry_is_looked_up_again_after_max_age(jitter: float, at_s: float) -> None:
    """`max_age` bounds how long a change of a static key stays unnoticed."""
    life = Simulation(Timing(max_age_s=600), jitter).holding(lifetime_s=None)
    assert life.due_in_s() == pytest.approx(at_s)
    assert life.after(601).ask().wait_s == 0.5, "an ask that finds it too old waits for the look, briefly"
    assert not life.give("fake-token-1", None), "the same key is no new token"
    assert life.due_in_s() == pytest.approx(at_s), "and its age counts anew"


def test_max_age_does_not_concern_tokens_with_an_expiry() -> None:
    """A token that says when it dies is replaced by that, not by `max_age`."""
    life = Simulation(Timing(max_age_s=60)).holding(lifetime_s=3600)
    assert life.after(120).ask() == Plan()


def test_a_static_key_without_max_age_is_never_looked_up_again() -> None:
    """There is nothing to gain."""
    assert Simulation().holding(lifetime_s=None).due_in_s() is None


@pytest.mark.parametrize("timing", [Timing(max_age_s=1e-3), Timing(max_age_s=1e-9)])
def test_a_tiny_max_age_makes_no_hot_loop(timing: Timing) -> None:
    """However small the setting, nothing is fetched by itself more often than once a second."""
    life = Simulation(timing).holding(lifetime_s=None)
    assert life.due_in_s() == pytest.approx(1.0)


@pytest.mark.parametrize("lifetime_s", [0.11, 0.5, 1.0, 3.0])
def test_tokens_of_a_moment_s_life_make_no_hot_loop(lifetime_s: float) -> None:
    """Without asks, nothing is fetched more often than once a second, though every token is dead by then."""
    life = Simulation().holding(lifetime_s=lifetime_s)
    begun = 0
    for number in range(1000):
        if life.after(0.01).tick():
            begun += 1
            life.give(f"fake-token-{number}", lifetime_s)
    assert begun <= 10


def test_a_source_with_a_cache_of_its_own_is_not_hammered_for_a_better_token() -> None:
    """A command that repeats the same token until shortly before its end is asked ever more seldom, then more often."""
    life = Simulation().holding(lifetime_s=3600)
    expires = life.now.wall + 3600
    waits = []
    while (due := life.due_in_s()) is not None and life.remaining_s() > 60:
        life.after(max(due, 0.0) + 1e-3)
        assert life.tick()
        life.give("fake-token-1", expires - life.now.wall)
        waits.append(due)
        assert life.ask(3000) == Plan(), "nobody waits for what the source does not have"
        assert life.served() == "fake-token-1"
    assert waits[1:5] == pytest.approx([5, 10, 20, 40], rel=0.01)
    assert len(waits) < 16
    assert life.due_in_s() is not None
    assert life.after(30).tick(), (
        "towards the end it is asked more often: a better one is there before the old one dies"
    )


def test_a_repeating_source_is_asked_at_once_when_its_token_is_over() -> None:
    """However long the pause between two looks was to be, an ask without a valid token does not wait for it."""
    life = Simulation().holding(lifetime_s=3600)
    life.after(2400).tick()
    life.give("fake-token-1", 1200)
    life.set_clock(3000)
    assert life.ask() == Plan(fetch=True, wait_s=float("inf"))


def test_a_renewed_lease_is_the_same_token_with_more_life() -> None:
    """The same secret with a later end is a success: no new token, and the next fetch a lifetime later."""
    life = Simulation().holding(lifetime_s=3600)
    assert life.after(2400).tick()
    serial = life.life.held.serial if life.life.held else 0
    assert not life.give("fake-token-1", 3600)
    assert life.remaining_s() == 3600
    assert life.due_in_s() == pytest.approx(2400)
    assert life.life.held is not None
    assert life.life.held.serial == serial


def test_a_source_that_takes_life_back_is_believed() -> None:
    """The same secret with an earlier end (a lease cut short) dies at that end, by either clock."""
    life = Simulation().holding(lifetime_s=3600)
    life.life.force(life.now)
    life.give("fake-token-1", 100)
    assert life.remaining_s() == pytest.approx(100)
    life.after(50).set_clock(-1000)
    assert life.remaining_s() == pytest.approx(50)
    assert life.after(50).ask().wait_s == float("inf")


def test_a_new_token_with_less_life_than_the_old_one_is_taken() -> None:
    """The source's latest word counts: the old one may have been withdrawn with it."""
    life = Simulation().holding(lifetime_s=36_000, ttl_s=0)
    life.life.force(life.now)
    life.give("fake-token-2", 300)
    assert life.served() == "fake-token-2"
    assert life.remaining_s() == 300


@pytest.mark.parametrize("lifetime_s", [0.0, -1.0, -1e9, 0.05, float("nan")])
def test_a_token_that_is_dead_on_arrival_is_a_failure(lifetime_s: float) -> None:
    """What cannot be handed on alive is not taken, and the source is not asked again at once."""
    life = Simulation()
    life.ask()
    assert not life.give("fake-token-1", lifetime_s)
    assert life.life.failure is not None
    assert "expired already" in life.life.failure.message
    assert life.ask() == Plan()
    assert life.life.counters.failures == 1


def test_changed_durations_hold_at_once_for_the_token_in_hand() -> None:
    """A shorter `max_age` has it looked up sooner, with a jitter of its own; another damping damps from now on."""
    life = Simulation(Timing(max_age_s=600), 0.5).holding(lifetime_s=None)
    assert life.due_in_s() == pytest.approx(570)
    life.life.retime(Timing(max_age_s=100, refresh_interval_min_s=20))
    assert life.due_in_s() == pytest.approx(95)
    assert life.served() == "fake-token-1"
    life.reject()
    assert life.ask().fetch
    life.give("fake-token-2", None)
    life.after(19).reject()
    assert not life.ask().fetch
    assert life.after(1).ask().fetch


def test_a_pause_that_a_repeating_source_has_earned_outlasts_other_durations() -> None:
    """A reload of the config is no new reason to believe that the source gives another key."""
    life = Simulation(Timing(refresh_interval_min_s=10)).holding(lifetime_s=None)
    for _ in range(2):
        life.reject()
        life.ask()
        life.give("fake-token-1", None)
        life.after(25)
    life.reject()
    before = life.due_in_s()
    assert before is not None
    assert before > 10
    life.life.retime(Timing(refresh_interval_min_s=1))
    assert life.due_in_s() == before
