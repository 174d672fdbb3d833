"""The engine's invariants over random histories (issue 2, item 5).

The model below knows nothing of how the engine decides: it keeps what the source said, what upstream refused and
when fetches ran, and judges every answer by that. It waits for callers exactly as the keeper does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from random import Random

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from broker.clock import Now
from broker.engine.callers import History, Session
from broker.engine.life import Life
from broker.engine.vocabulary import Failure, Receipt, Trouble
from broker.errors import DeadlineExceeded, NeedsLogin, SourceFailed
from broker.model import TOKEN, Issued, Timing
from tests.engine.conftest import HISTORIES

YEAR_S = 365 * 86_400.0
EPSILON_S = 1e-3
"""Times of day are floats of 1e9: they are exact to a microsecond at best."""

TTLS = st.one_of(st.sampled_from([0.0, 2.0, 300.0, 3600.0, 1e9]), st.floats(0, 10_000))
LIFETIMES = st.one_of(st.sampled_from([0.2, 1.0, 8.0, 60.0, 480.0, 3600.0, 1e9]), st.floats(0.11, 50_000))
SPANS = st.one_of(st.sampled_from([0.1, 0.5, 1.0, 2.0, 5.0, 10.0]), st.sampled_from([60.0, 300.0, 3600.0, 30_000.0]))
JUMPS = st.one_of(st.sampled_from([-YEAR_S, -3600.0, -5.0, 5.0, 3600.0, YEAR_S]), st.floats(-1e5, 1e5))
TIMINGS = st.builds(
    Timing,
    min_validity_s=st.sampled_from([0.0, 2.0, 60.0, 600.0]),
    max_age_s=st.sampled_from([None, 1e-3, 60.0, 3600.0]),
    idle_after_s=st.sampled_from([0.0, 60.0, 28_800.0]),
    refresh_interval_min_s=st.sampled_from([0.0, 1e-3, 10.0, 600.0]),
    ttl_max_s=st.sampled_from([300.0, 86_400.0]),
)


@dataclass
class Waiter:
    """Somebody who asked and is not answered yet."""

    ttl_s: float
    deadline: float
    patience: float
    session: Session | None


@dataclass
class Known:
    """What the source said of a secret: when it dies by the time of day, and by the clock that never jumps."""

    expires: float
    end: float
    dead: bool = False

    def observe(self, now: Now) -> None:
        """Once either clock says so, it is dead for good."""
        self.dead = self.dead or now.wall >= self.expires or now.mono >= self.end

    def left_s(self, now: Now) -> float:
        """Seconds of life left, as both clocks agree."""
        return 0.0 if self.dead else min(self.expires - now.wall, self.end - now.mono)


class Histories(RuleBasedStateMachine):
    """Whatever happens, in whatever order."""

    @initialize(timing=TIMINGS, seed=st.integers(0, 2**32), wall=st.sampled_from([0.0, 1e6, 1.8e9, 4e9]))
    def begin(self, timing: Timing, seed: int, wall: float) -> None:
        """A credential that nobody asked for yet."""
        self.timing = timing
        self.random = Random(seed)
        self.now = Now(wall, 1000.0)
        self.known: dict[str, Known] = {}
        self.minted = 0
        self.booted = False
        self._start_anew()

    def _start_anew(self) -> None:
        """A daemon that remembers nothing."""
        self.life = Life(self.timing, self.random)
        self.history = History()
        self.kept: tuple[str, Receipt] | None = None
        self.latest = ""
        self.flight: float | None = None
        self.attempts: list[float] = []
        self.waiters: list[Waiter] = []
        self.asked_at: float | None = None
        self.refused: str | None = None
        self.heeded = False
        self.failing = False
        self.forced_at = -math.inf
        self.gap_s = self.timing.refresh_interval_min_s

    # --- what happens -------------------------------------------------------------------------------------------

    @rule(ttl_s=TTLS, deadline_s=st.sampled_from([0.0, 0.2, 9.0, 60.0]))
    def ask(self, ttl_s: float, deadline_s: float) -> None:
        """Somebody asks."""
        self._serve(Waiter(ttl_s, self.now.mono + deadline_s, math.inf, None))

    @rule(ttl_s=TTLS, pid=st.integers(2, 4))
    def ask_from_session(self, ttl_s: float, pid: int) -> None:
        """A Claude Code session asks; perhaps early."""
        session = Session(pid, started=1)
        held = self.life.held
        if held is not None and self.history.tells_refusal(self.now, session, held.serial):
            self._refuse(held.serial)
        self._serve(Waiter(ttl_s, self.now.mono + 9.0, math.inf, session))

    @rule()
    def report_rejection(self) -> None:
        """A caller says that upstream refused the token in hand."""
        if self.life.held is not None:
            self._refuse(self.life.held.serial)

    @rule(seconds=SPANS)
    def report_what_changes_nothing(self, seconds: float) -> None:
        """Upstream wants fewer requests; a caller speaks of a token of long ago."""
        self.life.limit(self.now, seconds)
        if self.life.held is not None:
            assert not self.life.reject(self.now, self.life.held.serial - 1)

    @rule()
    def force(self) -> None:
        """A person wants a new token."""
        self.asked_at = self.now.mono
        self._observe()
        if self.life.force(self.now):
            self._begin()

    @rule()
    def change_inputs(self) -> None:
        """What the source reads was changed."""
        self._observe()
        if self.life.inputs_changed(self.now):
            self._begin(by_itself=True)

    @rule(lifetime_s=st.one_of(st.none(), LIFETIMES))
    @precondition(lambda self: self.flight is not None)
    def source_mints(self, lifetime_s: float | None) -> None:
        """The source gives a new token."""
        self.minted += 1
        self._land(f"fake-token-{self.minted}", lifetime_s)

    @rule(more_s=st.sampled_from([0.0, 0.0, 0.5, -10.0, 3600.0]), share=st.sampled_from([1.0, 1.0, 0.5, 0.1]))
    @precondition(lambda self: self.flight is not None and self.latest)
    def source_repeats(self, more_s: float, share: float) -> None:
        """The source gives the same token again, with the same end or another."""
        expires = self.known[self.latest].expires
        lifetime_s = share * (expires - self.now.wall) + more_s
        self._land(self.latest, lifetime_s if lifetime_s < math.inf else None)

    @rule(
        trouble=st.sampled_from([Trouble.TRANSIENT, Trouble.TRANSIENT, Trouble.TRANSIENT, Trouble.LOGIN]),
        retry_after_s=st.sampled_from([0.0, 0.0, 30.0, 1e9]),
    )
    @precondition(lambda self: self.flight is not None)
    def source_fails(self, trouble: Trouble, retry_after_s: float) -> None:
        """The source gives nothing."""
        self._observe()
        self.flight = None
        self.failing = True
        self.life.failed(self.now, Failure(trouble, "the source is down", retry_after_s))
        self._resume()

    @rule(
        every_s=st.sampled_from([0.3, 1.0, 7.0, 60.0]),
        times=st.integers(1, 60),
        trouble=st.sampled_from([Trouble.TRANSIENT, Trouble.TRANSIENT, Trouble.PERMANENT]),
        persons=st.booleans(),
    )
    def source_is_dead_for_long(self, every_s: float, times: int, trouble: Trouble, persons: bool) -> None:  # noqa: FBT001  # drawn
        """The source fails whenever it is asked, while callers and perhaps persons insist."""
        for _ in range(times):
            self.ask(ttl_s=300.0, deadline_s=0.2)
            if persons:
                self.force()
                self.change_inputs()
            if self.flight is not None:
                self.source_fails(trouble, retry_after_s=0.0)
            self._move(every_s)
            self._wake()

    @rule()
    def it_becomes_time_to_refresh(self) -> None:
        """The machine's own next moment comes."""
        due = self.life.wake_at(self.now)
        if due is not None:
            self._move(max(0.0, due - self.now.mono) + EPSILON_S)
            self._wake()

    @rule(share=st.floats(0, 1.2))
    def token_ages(self, share: float) -> None:
        """A good part of the token's life passes."""
        held = self.life.held
        if held is not None and held.lifetime_s < math.inf:
            # After another boot not to the very end: two ways of reckoning it differ in the last bit.
            self.time_passes(share * held.remaining_s(self.now) + (EPSILON_S if self.booted else 0.0))

    @rule(seconds=SPANS)
    def time_passes(self, seconds: float) -> None:
        """Time passes, and the machine is woken when it wanted to be."""
        until = self.now.mono + seconds
        for _ in range(1000):
            due = self.life.wake_at(self.now)
            moments = [waiter.patience for waiter in self.waiters] + ([due] if due is not None else [])
            at = min([moment for moment in moments if moment > self.now.mono] or [math.inf]) + EPSILON_S
            if at >= until:
                break
            self._move(at - self.now.mono)
            self._wake()
        self._move(max(0.0, until - self.now.mono))
        self._wake()

    @rule(seconds=SPANS)
    def machine_sleeps(self, seconds: float) -> None:
        """Time passes, and nothing can act until it is over."""
        self._move(seconds)
        self._wake()

    @rule(seconds=JUMPS)
    def clock_is_set(self, seconds: float) -> None:
        """The time of day jumps."""
        self.now = Now(self.now.wall + seconds, self.now.mono)

    @rule(seconds=SPANS, jump=st.one_of(st.just(0.0), JUMPS), boots=st.booleans(), mono=st.floats(0, 1e6))
    def daemon_is_killed(self, seconds: float, jump: float, boots: bool, mono: float) -> None:  # noqa: FBT001  # drawn
        """The daemon is killed and starts again, perhaps in another boot; it finds what it had kept."""
        before, kept = self.now, self.kept
        self.booted = self.booted or boots
        self.now = Now(before.wall + seconds + jump, mono if boots else before.mono + seconds)
        self._start_anew()
        if kept is None:
            return
        text, receipt = kept
        receipt = replace(receipt, same_boot=not boots)
        if boots:
            # Nobody knows the true age: all that can be asked for is that the time of day allows it.
            age_s = self.now.wall - receipt.received.wall
            left_s = min(receipt.lifetime_s - age_s, self.known[text].expires - self.now.wall)
            self.known[text] = Known(self.known[text].expires, self.now.mono + left_s, dead=age_s < 0)
        self._observe()
        if self.life.restore(self.now, receipt):
            self.latest = text
            self.kept = text, replace(kept[1], received=self.life.held.received) if self.life.held else kept[1]
        else:
            left = self.known[text].left_s(self.now)
            assert left < 0.1 + EPSILON_S or receipt.received_in(self.now).mono > self.now.mono, "the living are kept"
            self.kept = None

    @rule()
    def secrets_are_locked_away(self) -> None:
        """`broker lock`, and at once `broker unlock`: the token is dropped, the fetch called off, the kept one back."""
        self.life.forget()
        if self.flight is not None:
            self.life.interrupted()
        self.latest, self.flight, self.refused = "", None, None
        assert str(self.life.state(self.now)) not in {"fresh", "stale"}
        if self.kept is not None and self.life.restore(self.now, self.kept[1]):
            self.latest = self.kept[0]
        self._resume()

    @rule(timing=TIMINGS)
    def durations_are_changed(self, timing: Timing) -> None:
        """A reload of the config: the token stays, and what is due by the new durations begins."""
        held = self.life.held
        if self.gap_s == self.timing.refresh_interval_min_s:
            self.gap_s = timing.refresh_interval_min_s
        self.timing = timing
        self.life.retime(timing)
        now_held = self.life.held
        assert held is None or now_held is None or replace(now_held, jitter_s=held.jitter_s) == held
        assert (held is None) is (now_held is None)
        self._wake()

    # --- the world ----------------------------------------------------------------------------------------------

    def _move(self, seconds: float) -> None:
        self.now = Now(self.now.wall + seconds, self.now.mono + seconds)

    def _wake(self) -> None:
        self._observe()
        due = self.life.wake_at(self.now)
        if self.life.tick(self.now):
            assert due is not None
            assert due <= self.now.mono
            self._begin(by_itself=True)
        else:
            assert due is None or due > self.now.mono, "what is due begins"
        self._resume()

    def _observe(self) -> None:
        for known in self.known.values():
            known.observe(self.now)
        if self.refused is not None and self.known[self.refused].dead:
            self.refused = None

    def _begin(self, *, by_itself: bool = False) -> None:
        now = self.now.mono
        assert self.flight is None, "never two fetches at a time"
        recent = [
            at for at in self.attempts if at > now - 600 + EPSILON_S
        ]  # what is ten minutes old to a rounding error is old
        assert len(recent) < 12, "at most twelve attempts in ten minutes"
        if by_itself:
            assert self.asked_at is not None, "nothing before somebody asks"
            assert now - self.asked_at < self.timing.idle_after_s, "nothing when nobody asked for long"
        if self.refused is not None and now >= self.forced_at + self.gap_s:
            self.forced_at = now
        self.heeded = self.refused is not None
        self.attempts.append(now)
        self.flight = now

    def _land(self, text: str, lifetime_s: float | None) -> None:
        self._observe()
        self.flight = None
        expires_at = None if lifetime_s is None else self.now.wall + lifetime_s
        taken = self._learn(text, expires_at)
        self.failing = not taken
        if taken:
            self.attempts.clear()
            self._note_refused(text)
            self.latest = text
        self.life.fetched(self.now, Issued.token(text, expires_at))
        assert (self.life.failure is None) is taken
        held = self.life.held
        if taken and held is not None and self.refused is None:
            self.kept = text, Receipt(held.issued, held.received, held.lifetime_s, same_boot=True)
        self._resume()

    def _learn(self, text: str, expires_at: float | None) -> bool:
        """Note what the source said; return whether that is a token that can be used."""
        expires = math.inf if expires_at is None else expires_at
        end = self.now.mono + (math.inf if expires_at is None else expires_at - self.now.wall)
        old = self.known.get(text)
        if expires - self.now.wall < 0.1:
            return False
        if old is None or expires > old.expires + 1 or expires == math.inf:
            self.known[text] = Known(expires, end)
            return True
        if old.dead:
            return False
        self.known[text] = Known(expires, min(old.end, end))
        return True

    def _note_refused(self, text: str) -> None:
        if text == self.refused and self.heeded:
            self.refused = None
            self.gap_s = min(2 * max(self.gap_s, 1), max(300, self.timing.refresh_interval_min_s))
        elif text != self.latest:
            self.refused = None
            self.gap_s = self.timing.refresh_interval_min_s

    def _refuse(self, serial: int) -> None:
        self._observe()
        if self.life.reject(self.now, serial):
            self.refused = self.latest
            self.kept = None

    # --- callers ------------------------------------------------------------------------------------------------

    def _resume(self) -> None:
        """Answer whoever need not wait any longer."""
        waiting, self.waiters = self.waiters, []
        for waiter in waiting:
            self._serve(waiter)

    def _serve(self, waiter: Waiter) -> None:
        self.asked_at = self.now.mono
        self._observe()
        plan = self.life.ask(self.now, waiter.ttl_s)
        if plan.fetch:
            self._begin()
        brief = min(waiter.patience, waiter.deadline, self.now.mono + plan.wait_s)
        waiter.patience = waiter.deadline if plan.wait_s == math.inf else brief
        if plan.wait_s > 0 and self.now.mono < waiter.patience:
            self.waiters.append(waiter)
        else:
            self._answer(waiter)

    def _answer(self, waiter: Waiter) -> None:
        try:
            held = self.life.answer(self.now)
        except DeadlineExceeded:
            assert self.flight is not None
            assert self.now.mono >= waiter.deadline, "only the deadline ends the wait for a fetch that still runs"
            assert self.refused is not None or not self._usable(), "a valid token would have been the answer"
        except (SourceFailed, NeedsLogin):
            exhausted = len(self.attempts) >= 12
            assert self.failing or exhausted, "no error without a failure"
            assert not self._usable(), "a valid token would have been the answer"
        else:
            self._judge(held.issued.parts[TOKEN].reveal())
            assert held.remaining_s(self.now) > 0
            if waiter.session is not None:
                self.history.given(self.now, waiter.session, held.serial, waiter.ttl_s)

    def _usable(self) -> bool:
        return self.latest != "" and not self.known[self.latest].dead

    def _judge(self, text: str) -> None:
        known = self.known[text]
        assert text == self.latest
        assert not known.dead, "no expired token is ever served, and what died stays dead"
        if text == self.refused:
            assert self.flight is None, "a refused token is not served while a better one is on its way"
            damped = self.now.mono < self.forced_at + self.gap_s
            assert damped or self.failing, "a refused token is served only while damped, or when the source fails"

    # --- always -------------------------------------------------------------------------------------------------

    @invariant()
    def nobody_is_left_hanging(self) -> None:
        """Whoever waits has a fetch to wait for, and an end to it."""
        if hasattr(self, "waiters") and self.waiters:
            assert self.flight is not None
            assert all(waiter.patience < math.inf for waiter in self.waiters)

    @invariant()
    def the_machine_knows_whether_a_fetch_runs(self) -> None:
        """Its view and the world's are the same, and it shows a consistent picture."""
        if hasattr(self, "life"):
            self._observe()
            assert self.life.fetching is (self.flight is not None)
            valid = str(self.life.state(self.now)) in {"fresh", "stale"}
            assert valid is self._usable()
            assert valid or not self.life.warnings(self.now)
            if not valid:
                self.kept = None

    def teardown(self) -> None:
        """However bad it was: with the budget's window over, a person's refresh and a working source mend it."""
        if not hasattr(self, "life"):
            return
        self._move(max(600.0, self.timing.refresh_interval_min_s))
        if self.flight is None:
            self.force()
        assert self.flight is not None
        self.source_mints(3600.0)
        assert not self.waiters
        self._serve(Waiter(0.0, self.now.mono, math.inf, None))
        assert not self.failing
        assert self.latest == f"fake-token-{self.minted}"


class ReadySource(RuleBasedStateMachine):
    """A source that answers within the brief wait, with tokens that can hold what callers need."""

    @initialize(
        ttl_max_s=st.sampled_from([0.0, 2.0, 300.0, 3600.0, 86_400.0]),
        min_validity_s=st.sampled_from([0.0, 2.0, 60.0]),
        ratio=st.sampled_from([4 / 3, 1.5, 3.0, 100.0]),
        answers_in_s=st.sampled_from([0.0, 0.1, 0.4]),
        seed=st.integers(0, 2**32),
    )
    def begin(self, ttl_max_s: float, min_validity_s: float, ratio: float, answers_in_s: float, seed: int) -> None:
        """Choose what callers need and what the source gives."""
        self.ttl_max_s, self.min_validity_s, self.answers_in_s = ttl_max_s, min_validity_s, answers_in_s
        self.lifetime_s = max(1.0, ratio * (ttl_max_s + min_validity_s) + EPSILON_S)
        self.now = Now(1.8e9, 1000.0)
        self.life = Life(Timing(min_validity_s=min_validity_s), Random(seed))
        self.minted = 0

    @rule(share=st.floats(0, 1), early=st.booleans())
    def ask(self, share: float, early: bool) -> None:  # noqa: FBT001  # drawn
        """Whoever asks gets at least TTL + min_validity."""
        ttl_s = share * self.ttl_max_s
        if early and self.life.held is not None:
            self.life.reject(self.now, self.life.held.serial)
        plan = self.life.ask(self.now, ttl_s)
        if plan.fetch and plan.wait_s > 0:
            self._mint()
        held = self.life.answer(self.now)
        assert held.remaining_s(self.now) >= ttl_s + self.min_validity_s - EPSILON_S
        if plan.fetch and plan.wait_s == 0:
            self._mint()

    @rule(share=st.floats(0, 2), woken=st.booleans())
    def time_passes(self, share: float, woken: bool) -> None:  # noqa: FBT001  # drawn
        """Time passes; the machine is woken, or slept."""
        self.now = Now(self.now.wall + share * self.lifetime_s, self.now.mono + share * self.lifetime_s)
        if woken and self.life.tick(self.now):
            self._mint()

    @rule(seconds=JUMPS)
    def clock_is_set(self, seconds: float) -> None:
        """The time of day jumps."""
        self.now = Now(self.now.wall + seconds, self.now.mono)

    @rule()
    def force(self) -> None:
        """A person wants a new token."""
        if self.life.force(self.now):
            self._mint()

    def _mint(self) -> None:
        self.now = Now(self.now.wall + self.answers_in_s, self.now.mono + self.answers_in_s)
        self.minted += 1
        expires_at = self.now.wall + self.lifetime_s
        assert self.life.fetched(self.now, Issued.token(f"fake-token-{self.minted}", expires_at))


TestHistories = Histories.TestCase
TestHistories.settings = HISTORIES
TestReadySource = ReadySource.TestCase
TestReadySource.settings = HISTORIES
