"""Runs one credential's life: asks its source when the engine says so, and lets callers share the answer."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from random import Random

from broker.clock import Clock, Now
from broker.engine.callers import History, Session
from broker.engine.life import Life
from broker.engine.vocabulary import Failure, Held, Plan
from broker.errors import Locked
from broker.model import Issued, Kind, Timing
from broker.service.alarm import Alarm
from broker.service.at_rest import AtRest
from broker.service.cache import TokenCache
from broker.service.events import Event, Who
from broker.service.flight import Flight
from broker.service.promises import Promises
from broker.sources.interface import Fetcher, Renewing, Returning

log = logging.getLogger(__name__)


class Keeper:
    """The one way to one credential's token."""

    def __init__(
        self,
        name: str,
        fetcher: Fetcher,
        timing: Timing,
        *,
        clock: Clock,
        publish: Callable[[Event], None],
        fingerprint_key: bytes,
        cache: TokenCache | None = None,
        kind: Kind = Kind.API_KEY,
        random: Random | None = None,
    ) -> None:
        self.name = name
        self.life = Life(timing, random or Random(), name)  # noqa: S311  # jitter needs no cryptography
        self.fetcher = fetcher
        self.fingerprint_key = fingerprint_key
        self.locked = False
        self._clock = clock
        self._publish = publish
        self._at_rest = AtRest(cache)
        self._kind = kind
        self._promises = Promises()
        self._lent_until = 0.0
        self._history = History()
        self._flight = Flight(name, self._landed)
        self._alarm = Alarm(self._tick)
        self._retired = False
        self._fingerprint: tuple[int, str] = (0, "")

    async def ask(
        self, ttl_s: float, deadline_s: float, session: Session | None = None, who: Who | None = None
    ) -> Held:
        """Return a token to keep for `ttl_s`, within `deadline_s`.

        `session` is given only where an early ask is evidence that upstream refused the last token; `who` asks is only
        noted. Raises `DeadlineExceeded`, `SourceFailed`, `NeedsLogin` or `Locked`.
        """
        now = self._clock.now()
        deadline = now.mono + deadline_s
        if session is not None and self.life.held is not None:
            serial = self.life.held.serial
            if self._history.tells_refusal(now, session, serial):
                self._reject(now, serial, "asked again early", who)
        held, given = await self._wait_and_answer(now, ttl_s, deadline)
        if session is not None:
            self._history.given(given, session, held.serial, session.keeps_s(ttl_s, held.remaining_s(given)))
        # Who names no TTL (a person's `broker exec`, say) may use it for as long as it lives.
        until = given.mono + ttl_s + self.life.timing.min_validity_s if ttl_s > 0 else math.inf
        self._promises.made(held.serial, until)
        return held

    async def refresh(self) -> float:
        """Fetch because a person says so, and wait for the outcome, which `status` tells. Raises `Locked`.

        Return 0.0, or where it is damped for how many seconds: then nothing was fetched.
        """
        self._check_unlocked()
        now = self._clock.now()
        damped_s = 0.0 if self.life.fetching else self.life.damped_s(now)
        if self.life.force(now):
            self._renounce()
            self._launch()
        await self._flight.landing()
        return damped_s

    def rejected(self, fingerprint: str, reason: str, who: Who | None = None) -> bool:
        """Take a caller's word that upstream refused this token: return whether it was the one in hand."""
        held = self.life.held
        if held is None or self.fingerprint(held) != fingerprint:
            return False
        done = self._reject(self._clock.now(), held.serial, reason, who)
        self._tick()
        return done

    def limited(self, fingerprint: str, retry_after_s: float) -> bool:
        """Take a caller's word that upstream limits this token's rate: return whether it was the one in hand."""
        held = self.life.held
        if held is None or self.fingerprint(held) != fingerprint:
            return False
        self.life.limit(self._clock.now(), retry_after_s)
        return True

    @property
    def kind(self) -> Kind:
        """What it is, or will be as far as its settings tell."""
        return self.life.held.issued.kind if self.life.held is not None else self._kind

    @property
    def in_use(self) -> bool:
        """Whether somebody asked not too long ago."""
        return self.life.active(self._clock.now())

    def inputs_changed(self) -> None:
        """Fetch anew, as the source's inputs are not those of the last fetch."""
        now = self._clock.now()
        if not self.locked and self.life.inputs_changed(now):
            self._launch()
        self._schedule(now)

    def replaced(self) -> None:
        """Drop the token in hand at once, as the source is known to hold another one now, or none."""
        self._at_rest.discard()
        self._let_go()
        self.life.forget()
        self.inputs_changed()

    def retime(self, timing: Timing) -> None:
        """Follow other durations from now on; where these are the same do nothing."""
        if timing != self.life.timing:
            self.life.retime(timing)
            self._schedule(self._clock.now())

    def fingerprint(self, held: Held) -> str:
        """Name the token without showing it."""
        if self._fingerprint[0] != held.serial:
            self._fingerprint = (held.serial, held.issued.fingerprint(self.fingerprint_key))
        return self._fingerprint[1]

    # --- at rest ------------------------------------------------------------------------------------------------

    def restore(self) -> None:
        """Take up the token that an earlier run kept, if it is alive and of these settings. Raises `Locked`."""
        receipt = self._at_rest.receipt()
        if self.life.held is not None:  # fetched before the store could be read, and perhaps refused since
            self._at_rest.discard()
            self._keep()
        elif receipt is None or not self.life.restore(self._clock.now(), receipt):
            self._at_rest.discard()
        else:
            self._promises.unknown()

    def lock(self) -> None:
        """Drop the token and call off the fetch, whose outcome is thrown away; who waits or asks is told `Locked`."""
        self.locked = True
        if not self._at_rest.holds_one:
            self._let_go()
        self.life.forget()
        if self._flight.call_off():
            self.life.interrupted()

    def unlock(self) -> None:
        """Serve again."""
        self.locked = False

    def _check_unlocked(self) -> None:
        if self.locked:
            raise Locked("the broker is locked; run: broker unlock")

    def _keep(self) -> None:
        if self.life.held is not None and not self._retired:
            self._at_rest.keep(self.life.held)

    def _let_go(self, held: Held | None = None) -> None:
        """Give back this token, or the one in hand, when no caller may use it any more."""
        held, now = held or self.life.held, self._clock.now()
        if held is not None and isinstance(self.fetcher, Returning):
            self._lent_until = max(self._lent_until, now.mono + self._lent_s(held, now))
            self.fetcher.superseded(held.issued, self._promises.left_s(held.serial, now.mono))

    def _lent_s(self, held: Held, now: Now) -> float:
        """For how long somebody may use this token."""
        return min(held.remaining_s(now), self._promises.left_s(held.serial, now.mono))

    # --- the end ------------------------------------------------------------------------------------------------

    def retire(self) -> None:
        """Start nothing more; who waits still gets an answer."""
        self._retired = True
        self._alarm.stop()

    async def close(self) -> None:
        """Stop for good, a running fetch included."""
        if self._retired or not self._at_rest.holds_one:
            self._let_go()
        self.retire()
        await self._flight.stop()

    async def settled(self) -> None:
        """Wait until no fetch is running, and where tokens are to be given back, until nobody may use any of them."""
        await self._flight.landing()
        held, now = self.life.held, self._clock.now()
        if held is not None and isinstance(self.fetcher, Returning):
            await asyncio.sleep(max(self._lent_until - now.mono, self._lent_s(held, now)))

    # --- asking -------------------------------------------------------------------------------------------------

    async def _wait_and_answer(self, now: Now, ttl_s: float, deadline: float) -> tuple[Held, Now]:
        """Return the token, and the moment at which it is given."""
        patience = deadline
        while True:
            self._check_unlocked()
            plan = self.life.ask(now, ttl_s)
            if plan.fetch:
                self._launch()
            self._wake(now, plan.wake_at)
            patience = min(patience, now.mono + plan.wait_s) if plan.wait_s < math.inf else deadline
            if not self._should_wait(plan, now, patience):
                return self.life.answer(now), now
            await self._flight.landing(patience - now.mono)
            now = self._clock.now()

    def _should_wait(self, plan: Plan, now: Now, patience: float) -> bool:
        return plan.wait_s > 0 and now.mono < patience

    def _reject(self, now: Now, serial: int, reason: str, who: Who | None) -> bool:
        known = self.life.rejected
        if not self.life.reject(now, serial):
            return False
        self._renounce()
        self._at_rest.refuse(serial)
        if known:
            return True  # said already: a caller that repeats itself must not fill the log
        log.info("%s: upstream refused the token (%s)", self.name, reason)
        self._tell("rejected", now, reason=reason, who=who)
        return True

    # --- fetching -----------------------------------------------------------------------------------------------

    def _renounce(self) -> None:
        """Make sure that the next fetch does not merely prolong the token in hand."""
        if isinstance(self.fetcher, Renewing):
            self.fetcher.renounce()

    def _launch(self) -> None:
        known = self.life.held.issued.parts.values() if self.life.held is not None else ()
        self._flight.launch(self.fetcher, known)

    def _landed(self, outcome: Issued | Failure) -> None:
        if isinstance(outcome, Failure):
            self._failed(outcome)
        else:
            self._received(outcome)
        self._schedule(self._clock.now())

    def _received(self, issued: Issued) -> None:
        now = self._clock.now()
        before = self.life.held
        if self.life.fetched(now, issued):
            if before is not None:
                self._let_go(before)
            self._tell("issued" if before is None else "refreshed", now)
        elif self.life.failure is not None:
            self._tell("failed", now, reason=self.life.failure.message)
            return
        self._keep()

    def _failed(self, failure: Failure) -> None:
        now = self._clock.now()
        self.life.failed(now, failure)
        log.warning("%s: %s", self.name, failure.message)
        self._tell("failed", now, reason=failure.message)

    # --- waking by itself ---------------------------------------------------------------------------------------

    def _schedule(self, now: Now) -> None:
        """Make sure that the engine's next own act happens in time."""
        self._wake(now, self.life.wake_at(now))

    def _wake(self, now: Now, at: float | None) -> None:
        held = self.life.held
        if held is not None and held.dead:
            self._at_rest.discard()
        if at is not None and not (self._retired or self.locked):
            self._alarm.set(at - now.mono)

    def _tick(self) -> None:
        now = self._clock.now()
        if not (self._retired or self.locked) and self.life.tick(now):
            self._launch()
        self._schedule(now)

    def _tell(self, name: str, now: Now, *, reason: str | None = None, who: Who | None = None) -> None:
        held = self.life.held
        remaining_s = held.remaining_s(now) if held is not None else math.inf
        expires_in_s = int(remaining_s) if remaining_s < math.inf else None
        fingerprint = self.fingerprint(held) if held is not None else None
        self._publish(Event(name, self.name, now.wall, fingerprint, expires_in_s, reason, who))
