"""What a failing source leads to."""

from __future__ import annotations

import math

import pytest

from broker.engine.pacing import Pace
from broker.engine.vocabulary import Plan, State, Trouble
from broker.model import Timing
from tests.engine.simulation import Simulation

LAST_MOMENT = 1 - 1e-9


def _steps(jitter: float, number: int) -> list[float]:
    life = Simulation(jitter=jitter)
    life.ask()
    steps = []
    for _ in range(number):
        life.fail()
        due = life.due_in_s()
        assert due is not None
        steps.append(due)
        assert life.after(due + 1e-6).tick()
    return steps


def test_the_longest_backoff_doubles_from_five_seconds_to_five_minutes() -> None:
    """Exponential, first step 5 s, cap 5 min."""
    assert _steps(LAST_MOMENT, 9) == pytest.approx([5, 10, 20, 40, 80, 160, 300, 300, 300], rel=1e-6)


def test_full_jitter_spreads_down_to_a_second() -> None:
    """Full jitter: any part of the step; but a failure is remembered for at least a second."""
    assert _steps(0.0, 3) == pytest.approx([1, 1, 1])
    assert _steps(0.5, 3) == pytest.approx([2.5, 5, 10])


def test_after_many_failures_the_step_stays_finite() -> None:
    """A source that is dead for months breaks no arithmetic."""
    pace = Simulation().life._pace
    for number in range(5000):
        pace.failed(float(number), retry_after_s=0, final=False)
    assert pace.next_at <= 5000 + Pace.CAP_S


def test_a_hundred_callers_make_no_hundred_attempts() -> None:
    """Who asks right after a failure is told of it, without another attempt."""
    life = Simulation()
    life.ask()
    life.fail()
    assert [life.ask() for _ in range(100)] == [Plan()] * 100
    assert life.life.counters.failures == 1


@pytest.mark.parametrize(
    ("asked_s", "kept_s"), [(90.0, 90.0), (3600.0, 3600.0), (1e6, 3600.0), (0.0, 1.0), (-5.0, 1.0)]
)
def test_retry_after_is_honoured_up_to_an_hour(asked_s: float, kept_s: float) -> None:
    """A source that names a time is left alone until then; one that names a week is tried again after an hour."""
    life = Simulation()
    life.ask()
    life.fail(retry_after_s=asked_s)
    assert life.due_in_s() == pytest.approx(kept_s)


@pytest.mark.parametrize("jitter", [0.0, 0.2, 0.5, LAST_MOMENT])
@pytest.mark.parametrize("forced_every_s", [None, 1.0, 15.0])
def test_at_most_twelve_attempts_in_any_ten_minutes(jitter: float, forced_every_s: float | None) -> None:
    """The budget holds against impatient callers, impatient persons, changing inputs and unlucky jitter alike."""
    life = Simulation(Timing(refresh_interval_min_s=0), jitter)
    begun = []
    for second in range(3600):
        life.after(1)
        fetch = life.ask().fetch or life.tick()
        if forced_every_s is not None and second % forced_every_s == 0:
            fetch = life.life.force(life.now) or life.life.inputs_changed(life.now) or fetch
        if fetch:
            begun.append(life.now.mono)
            life.fail()
    assert len(begun) >= 12, "and a dead source is tried again, for ever"
    for first, thirteenth in zip(begun, begun[12:], strict=False):
        assert thirteenth - first >= 600


def test_a_success_pays_the_budget_back() -> None:
    """Short-lived tokens of a working source are fetched as often as needed."""
    life = Simulation()
    for number in range(100):
        assert life.ask(2).fetch
        life.give(f"fake-token-{number}", 8)
        life.after(9)


@pytest.mark.parametrize("trouble", [Trouble.PERMANENT, Trouble.LOGIN])
def test_a_permanent_failure_is_not_tried_again_by_itself(trouble: Trouble) -> None:
    """Neither time nor asks lead to another attempt."""
    life = Simulation()
    life.ask()
    life.fail(trouble)
    assert life.due_in_s() is None
    for _ in range(100):
        assert life.after(300).ask() == Plan()
        assert not life.tick()


@pytest.mark.parametrize("act", ["force", "inputs_changed"])
def test_a_person_or_new_inputs_end_a_permanent_failure(act: str) -> None:
    """`broker refresh`, and a change of what the source reads, make trying sensible again."""
    life = Simulation()
    life.ask()
    life.fail(Trouble.LOGIN)
    assert getattr(life.life, act)(life.after(1).now)
    life.give("fake-token-1")
    assert life.served() == "fake-token-1"
    assert life.life.failure is None


def test_a_refresh_that_is_refused_for_damping_ends_no_permanent_failure() -> None:
    """Forcing twice within the interval is forcing once."""
    life = Simulation()
    life.ask()
    life.fail(Trouble.PERMANENT)
    assert life.life.force(life.now)
    life.fail(Trouble.PERMANENT)
    assert not life.life.force(life.after(9).now)
    assert life.due_in_s() is None
    assert life.life.force(life.after(1).now)


def test_a_failing_source_is_invisible_while_the_token_is_valid() -> None:
    """The old token is served, and `status` says what is wrong."""
    life = Simulation().holding()
    assert life.after(2400).tick()
    life.fail(Trouble.LOGIN)
    assert life.ask() == Plan()
    assert life.served() == "fake-token-1"
    assert life.life.state(life.now) is State.STALE
    assert life.warned() == ["refresh-failing"]
    life.after(1200)
    assert life.life.state(life.now) is State.NEEDS_LOGIN


def test_what_a_failed_fetch_was_for_is_tried_again_also_for_a_static_key() -> None:
    """A file caught while it was being written is read again soon, though its old key has no expiry."""
    life = Simulation().holding(lifetime_s=None)
    assert life.life.inputs_changed(life.after(60).now)
    life.fail()
    assert life.due_in_s() == pytest.approx(1.0)
    assert life.after(1.0).tick()
    life.give("fake-token-2", None)
    assert life.served() == "fake-token-2"
    assert life.due_in_s() is None


def test_an_input_that_changes_during_a_fetch_starts_no_second_one() -> None:
    """One fetch at a time; who notices the change says so again afterwards."""
    life = Simulation()
    life.ask()
    assert not life.life.inputs_changed(life.now)
    life.give("fake-token-1")
    assert life.life.inputs_changed(life.now)


@pytest.mark.parametrize("act", ["ask", "tick", "force", "inputs_changed", "reject"])
def test_never_two_fetches_at_a_time(act: str) -> None:
    """Whatever happens while a fetch runs starts no other."""
    life = Simulation(Timing(refresh_interval_min_s=0)).holding()
    assert life.life.force(life.now)
    started = {
        "ask": lambda: life.after(3500).ask().fetch,
        "tick": lambda: life.after(3500).tick(),
        "force": lambda: life.life.force(life.now),
        "inputs_changed": lambda: life.life.inputs_changed(life.now),
        "reject": lambda: life.reject() and life.ask().fetch,
    }[act]()
    assert not started
    assert life.life.fetching
    assert life.due_in_s() is None


def test_a_person_s_refresh_counts_as_an_ask() -> None:
    """What somebody just refreshed is kept fresh from then on."""
    life = Simulation()
    assert life.life.force(life.now)
    life.give("fake-token-1")
    assert life.due_in_s() == pytest.approx(2400)
    assert math.isfinite(life.remaining_s())
