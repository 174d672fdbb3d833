"""One credential's life: when its source is asked, what is served meanwhile, when to give up.

Pure: no I/O, no clock of its own, chance only through the `Random` it is given. Every method takes the moment
it happens at; those that can call for a fetch say so in what they return, and from then on the machine counts
one as running until `fetched` or `failed` is called.
"""

from __future__ import annotations

import math
from random import Random
from typing import Final

from broker.clock import Now
from broker.engine.advice import room_s, too_long_ttl
from broker.engine.hand import AHEAD, ALIVE_S, Hand
from broker.engine.pacing import Pace, Peak
from broker.engine.refusal import Refusal
from broker.engine.vocabulary import Counters, Failure, Held, Plan, Receipt, State, Trouble, Warn
from broker.errors import DeadlineExceeded, NeedsLogin, SourceFailed
from broker.model import Issued, Timing

BRIEF_WAIT_S: Final = 0.5
"""How long an ask waits for a better token while one that is still valid is in hand."""


class Life:
    """The state machine of one credential; `name` is for its messages."""

    def __init__(self, timing: Timing, random: Random, name: str = "NAME") -> None:
        self.name = name
        self.timing = timing
        self.fetching = False
        self.failure: Failure | None = None
        self.counters = Counters()
        self.last_refresh: Now | None = None
        self._hand = Hand(timing.max_age_s, random)
        self._pace = Pace(random)
        self._peak = Peak()
        self._asked_at: float | None = None
        self._ordered_at = -math.inf
        self._began_at = -math.inf
        self._refusal = Refusal(timing.refresh_interval_min_s)
        self._limited_until = -math.inf

    @property
    def held(self) -> Held | None:
        """The token in hand, dead or alive."""
        return self._hand.held

    # --- what happens -------------------------------------------------------------------------------------------

    def retime(self, timing: Timing) -> None:
        """Follow other durations from now on; the token in hand and what is known of it stay."""
        self._refusal.retime(timing.refresh_interval_min_s)
        self._hand.retime(timing.max_age_s)
        self.timing = timing

    def ask(self, now: Now, ttl_s: float) -> Plan:
        """Somebody wants a token to keep for `ttl_s`: say whether to fetch, and how long to wait for it."""
        self._bury(now)
        self._asked_at = now.mono
        required_s = min(ttl_s, self.timing.ttl_max_s) + self.timing.min_validity_s
        self._peak.add(now.mono, required_s)
        wait_s = self._wait_s(now, required_s)
        due = self._due_at(now)
        fetch = (wait_s > 0 or due <= now.mono) and self._begin(now)
        if not self.fetching:
            return Plan(wake_at=due if due < math.inf else None)
        return Plan(fetch, math.inf if self._refusal.stands else wait_s)

    def answer(self, now: Now) -> Held:
        """Give the best token there is, after the wait that `ask` wanted.

        Raises `DeadlineExceeded` while a fetch still runs, else `NeedsLogin` or `SourceFailed`.
        """
        self._bury(now)
        held = self.held
        awaited = self._refusal.stands and self.fetching
        if held is not None and not held.dead and not awaited:
            self.counters.served += 1
            return held
        if self.fetching:
            raise DeadlineExceeded("the source has not answered yet; try again, or see: broker status")
        raise self._why(now)

    def reject(self, now: Now, serial: int) -> bool:
        """Upstream refused the token `serial`: return whether that was the one in hand, which is then replaced."""
        self._bury(now)
        if self.held is None or self.held.serial != serial or self.held.dead:
            return False
        self.counters.rejections += 1
        self._refusal.stands = True
        return True

    @property
    def rejected(self) -> bool:
        """Whether the token in hand was refused and is not replaced yet."""
        return self._refusal.stands

    def limit(self, now: Now, retry_after_s: float) -> None:
        """Upstream limited the rate of this token: worth a warning, not a new token."""
        self._limited_until = max(self._limited_until, now.mono + retry_after_s)

    def force(self, now: Now) -> bool:
        """A person wants a new token now: return whether to fetch. Damped, and within the attempts' budget."""
        self._bury(now)
        self._asked_at = now.mono
        if self.damped_s(now) > 0:
            return False
        self._pace.forgive()
        if not self._begin(now):
            return False
        self._ordered_at = now.mono
        return True

    def damped_s(self, now: Now) -> float:
        """Seconds until a person's next order counts (`force`); 0.0 where it does now."""
        return max(0.0, self._ordered_at + self.timing.refresh_interval_min_s - now.mono)

    def inputs_changed(self, now: Now) -> bool:
        """The source's inputs are not those that the last fetch used: return whether to fetch.

        To be told again until a fetch has used them: this one may be refused (one is running, the budget).
        """
        self._bury(now)
        self._pace.forgive()
        return self.active(now) and self._begin(now)

    def tick(self, now: Now) -> bool:
        """Time has passed: return whether to fetch."""
        self._bury(now)
        return self.active(now) and self._due_at(now) <= now.mono and self._begin(now)

    def fetched(self, now: Now, issued: Issued) -> bool:
        """The fetch gave a token: return whether it is a new one."""
        self._bury(now)
        lifetime_s = math.inf if issued.expires_at is None else issued.expires_at - now.wall
        before = self.held
        same = before is not None and before.issued.same_secret(issued)
        repeated = before if before is not None and before.is_repeated_by(issued) else None
        # NaN is no lifetime either. What died once is not revived by a clock that was set back since.
        if not lifetime_s >= ALIVE_S or (repeated is not None and repeated.dead):
            self.failed(now, Failure(Trouble.TRANSIENT, "the source gave a token that has expired already"))
            return False
        self.fetching = False
        self.failure = None
        self.last_refresh = now
        self.counters.refreshes += 1
        if repeated is not None:
            self._hand.curtail(now, repeated, issued, lifetime_s)
            self._pace.repeated(now.mono, lifetime_s)
        else:
            self._hand.take(now, issued, lifetime_s)
            self._pace.gained(now.mono)
        self._refusal.fetched(now.mono, same=same)
        return not same

    def failed(self, now: Now, failure: Failure) -> None:
        """The fetch gave nothing."""
        self.fetching = False
        self.failure = failure
        self.counters.failures += 1
        self._pace.failed(now.mono, retry_after_s=failure.retry_after_s, final=failure.trouble is not Trouble.TRANSIENT)

    def interrupted(self) -> None:
        """The fetch was called off; what it would have given is of no interest any more."""
        self.fetching = False

    def restore(self, now: Now, receipt: Receipt) -> bool:
        """Take up the token that an earlier run of the daemon received: return whether it is alive.

        One without end is served, but confirmed as soon as somebody asks: nobody knows what happened to it meanwhile.
        """
        if not self._hand.restore(now, receipt):
            return False
        self.last_refresh = receipt.received_in(now)
        return True

    def forget(self) -> None:
        """Drop the token in hand: it is to be in memory no longer, or is known to be replaced."""
        self._hand.drop()
        self._refusal.forget()
        self._ordered_at = self._limited_until = -math.inf

    # --- what to show -------------------------------------------------------------------------------------------

    def state(self, now: Now) -> State:
        """Name the condition."""
        self._bury(now)
        if self.held is not None and not self.held.dead:
            return State.STALE if self._is_stale(now, self.held) else State.FRESH
        if self.failure is not None:
            return State.NEEDS_LOGIN if self.failure.trouble is Trouble.LOGIN else State.FAILING
        return State.EMPTY if self.held is None else State.EXPIRED

    def active(self, now: Now) -> bool:
        """Whether somebody asked not too long ago; otherwise nothing is fetched ahead of time."""
        return self._asked_at is not None and now.mono - self._asked_at < self.timing.idle_after_s

    def wake_at(self, now: Now) -> float | None:
        """When (on the `mono` clock) `tick` next has something to do by itself; None: not before an ask."""
        if self.fetching or not self.active(now):
            return None
        due = self._due_at(now)
        return None if due == math.inf else due

    def warnings(self, now: Now) -> list[Warn]:
        """Say what a person should know although tokens are served."""
        held = self.held
        if held is None or held.dead:
            return []
        found = []
        if self.failure is not None:
            found.append(Warn("refresh-failing", "a valid token is still served, but the last refresh failed"))
        if self._refusal.is_useless(now.mono):
            found.append(Warn("upstream-refuses", "upstream refuses this key and the source gives the same one again"))
        elif self._refusal.stands:
            found.append(
                Warn("rejected", "upstream refused this token; a new one is fetched as soon as damping allows")
            )
        if now.mono < self._limited_until:
            found.append(
                Warn("rate-limited", f"upstream limits this key for another {self._limited_until - now.mono:.0f}s")
            )
        if self._peak.value(now.mono) > room_s(held.lifetime_s):
            found.append(too_long_ttl(held.lifetime_s, self.timing.min_validity_s))
        return found

    # --- decisions ----------------------------------------------------------------------------------------------

    def _wait_s(self, now: Now, required_s: float) -> float:
        held = self.held
        if held is None or held.dead:
            return math.inf
        if now.mono < self._pace.stalled_until:
            return 0.0
        if held.remaining_s(now) < min(required_s, room_s(held.lifetime_s)):
            return BRIEF_WAIT_S
        if held.lifetime_s < math.inf or held.age_s(now) < (self.timing.max_age_s or math.inf):
            return 0.0
        # Once a fetch, not once an ask: an old key is most likely good, and where the source hangs, who comes
        # later need not find that out again.
        return max(0.0, self._began_at + BRIEF_WAIT_S - now.mono) if self.fetching else BRIEF_WAIT_S

    def _begin(self, now: Now) -> bool:
        if self.fetching or not self._pace.allows(now.mono):
            return False
        self._refusal.began(now.mono)
        self._pace.began(now.mono)
        self._began_at = now.mono
        self.fetching = True
        return True

    def _due_at(self, now: Now) -> float:
        """When a fetch is to begin by itself (`mono`), as far as the pace of attempts allows; inf: never."""
        due = max(self._replace_at(now), self._pace.stalled_until, self._pace.calm_until)
        return max(min(due, self._refusal.due_at), self._pace.next_at)

    def _replace_at(self, now: Now) -> float:
        """When the token in hand is to be replaced, were the source always ready; inf: never."""
        if self.failure is not None and not self._refusal.stands:
            return now.mono  # whatever the failed fetch was for is still wanted
        return self._hand.replace_at(now, self._peak.value(now.mono))

    def _is_stale(self, now: Now, held: Held) -> bool:
        wanted_s = self._peak.value(now.mono) or self.timing.min_validity_s
        short = held.remaining_s(now) < min(wanted_s, AHEAD * held.lifetime_s)
        return short or self.failure is not None or self._refusal.stands

    def _bury(self, now: Now) -> None:
        if self._hand.bury(now):
            self._refusal.stands = False

    def _why(self, now: Now) -> NeedsLogin | SourceFailed:
        if self.failure is None:
            return SourceFailed("the token in hand has expired meanwhile, or was dropped; try again")
        if self.failure.trouble is Trouble.LOGIN:
            return NeedsLogin(self.failure.message)
        if self._pace.final:
            return SourceFailed(f"{self.failure.message}; when that is mended run: broker refresh {self.name}")
        wait_s = max(0.0, self._pace.next_at - now.mono)
        damped_s = math.ceil(self.damped_s(now))
        ordered = f"in {damped_s}s" if damped_s else "now"
        return SourceFailed(
            f"{self.failure.message}; next try in {wait_s:.0f}s, or {ordered} with: broker refresh {self.name}"
        )
