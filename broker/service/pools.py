"""The pools of a config: `engine/pool.py` says whose turn it is, and here that member's keeper is asked.

The members' own lives stay theirs: each is fetched, renewed and damped as if it stood alone. A pool only adds whom to
give to whom, and hears whatever is said of its members, by whichever name.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from broker.clock import Clock
from broker.engine.callers import Session
from broker.engine.pool import Cause, Pool, Strategy
from broker.engine.vocabulary import Held, State
from broker.errors import BrokerError, DeadlineExceeded, NeedsLogin, SourceFailed
from broker.service import pool_report
from broker.service.entries import Entries, Entry
from broker.service.events import Event, Who
from broker.service.keeper import Keeper
from broker.sources.interface import Pooling

log = logging.getLogger(__name__)

Give = Callable[[Keeper, float], Awaitable[Held]]
"""Asks a member's keeper, within so many seconds."""

_DOWN: Final = frozenset({State.FAILING, State.NEEDS_LOGIN})
_SAID_MAX: Final = 160


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks a pool, and to keep the token for how long.

    `session` is given only where an early ask is evidence that upstream refused the last token (`Keeper.ask`).
    """

    ttl_s: float = 0.0
    session: Session | None = None
    who: Who | None = None

    @property
    def seat(self) -> Session | None:
        """The Claude Code that the token is for in the end, whether its helper asks or something below it."""
        if self.who is None or self.who.session is None:
            return self.session
        return Session(self.who.session, self.who.within)


class Pools:
    """Every pool, by its credential's name."""

    def __init__(self, entries: Entries, clock: Clock) -> None:
        self._entries = entries
        self._clock = clock
        self._pools: dict[str, Pool] = {}

    def follow(self) -> None:
        """Have the pools that the config has now; what is known of those that were there holds."""
        before, self._pools = self._pools, {}
        for name, entry in self._entries.by_name.items():
            settings = entry.opened.config.settings
            if isinstance(settings, Pooling):
                strategy = Strategy(settings.strategy)
                pool = self._pools[name] = before.get(name) or Pool(settings.members, strategy)
                pool.follow(settings.members, strategy)

    def __contains__(self, name: str) -> bool:
        return name in self._pools

    def members(self, name: str) -> list[Entry]:
        """Return a pool's members; of any other credential itself."""
        pool = self._pools.get(name)
        return [self._entries.by_name[member] for member in (pool.members if pool is not None else [name])]

    def first(self, name: str) -> Entry:
        """Return the member whose turn it is for who has no session; of any other credential itself."""
        pool = self._pools.get(name)
        return self._entries.by_name[name if pool is None else self._order(pool, None)[0]]

    # --- asking -------------------------------------------------------------------------------------------------

    async def ask(
        self, name: str, asker: Asker, give: Give, deadline_s: float, among: Collection[str] | None = None
    ) -> tuple[Keeper, Held]:
        """Return a token of the member whose turn it is, and its keeper; `among`: members that may be given at all.

        One that has none is passed over. Raises `Locked`; and `DeadlineExceeded`, `NeedsLogin` or `SourceFailed`
        where none of them has any.
        """
        pool = self._pools[name]
        self._infer(pool, asker)
        until = self._clock.now().mono + deadline_s
        order = [member for member in self._order(pool, asker.seat) if among is None or member in among]
        keepers = [self._entries.by_name[member].keeper for member in order]  # a new config may drop them meanwhile
        failed: dict[str, BrokerError] = {}
        for place, (member, keeper) in enumerate(zip(order, keepers, strict=True)):
            # A source that hangs must leave time for the others.
            share_s = (until - self._clock.now().mono) / (len(order) - place)
            try:
                held = await give(keeper, share_s)
            except (DeadlineExceeded, NeedsLogin, SourceFailed) as error:
                failed[member] = error
                continue
            self._took(pool, member, asker, keeper.fingerprint(held))
            return keeper, held
        raise _none_of(failed)

    def _order(self, pool: Pool, seat: Session | None) -> list[str]:
        now = self._clock.now()
        lives = {member: self._entries.by_name[member].keeper.life for member in pool.members}
        return pool.order(now.mono, seat, [member for member, life in lives.items() if life.state(now) in _DOWN])

    def _took(self, pool: Pool, member: str, asker: Asker, fingerprint: str) -> None:
        now = self._clock.now()
        pool.took(now, member, asker.seat)
        if asker.session is not None:
            pool.noted(now, asker.session, _number(fingerprint), asker.ttl_s)

    def _infer(self, pool: Pool, asker: Asker) -> None:
        """Take a session's asking again early for what it is (`History`)."""
        if asker.session is None:
            return
        in_hand = {keeper.name: self._alive(keeper) for keeper in self._keepers(pool)}
        numbers = {name: _number(fingerprint) for name, fingerprint in in_hand.items() if fingerprint is not None}
        refused = pool.refused_by(self._clock.now(), asker.session, numbers)
        if refused is not None:
            self.refused(refused, in_hand[refused] or "", "asked again early", asker.who)

    # --- what upstream thinks -----------------------------------------------------------------------------------

    def refused(self, name: str, fingerprint: str, reason: str, who: Who | None = None) -> None:
        """Upstream refused this token of a credential, or of a member of a pool (401, 403)."""
        for keeper in self._holders(name, fingerprint):
            self._turned_away(keeper.name, Cause.REFUSED)
            keeper.rejected(fingerprint, reason, who)

    def limited(self, name: str, fingerprint: str, retry_after_s: float) -> None:
        """Upstream limits the rate of this token of a credential, or of a member of a pool (429)."""
        for keeper in self._holders(name, fingerprint):
            self._turned_away(keeper.name, Cause.LIMITED, retry_after_s)
            keeper.limited(fingerprint, retry_after_s)

    def hear(self, event: Event) -> None:
        """Follow what becomes of members that are asked by their own names too."""
        if event.credential is None:
            return
        if event.name == "rejected":
            self._turned_away(event.credential, Cause.REFUSED)
        elif event.name in {"issued", "refreshed"}:
            for pool in self._with(event.credential).values():
                pool.renewed(self._clock.now(), event.credential, by_person=event.name == "issued")

    async def refresh(self, name: str) -> float:
        """Fetch every member's token anew as a person says so (`Keeper.refresh`), and end their rests."""
        if name in self._pools:
            self._pools[name].forgive()
        return min(await asyncio.gather(*(entry.keeper.refresh() for entry in self.members(name))))

    def _turned_away(self, member: str, cause: Cause, retry_after_s: float = 0.0) -> None:
        now = self._clock.now()
        for name, pool in self._with(member).items():
            limited = cause is Cause.LIMITED
            if pool.limited(now, member, retry_after_s) if limited else pool.refused(now, member):
                log.info("%s: %s rests for %.0fs: %s", name, member, pool.members[member].rests_s(now.mono), cause)

    def _with(self, member: str) -> Mapping[str, Pool]:
        return {name: pool for name, pool in self._pools.items() if member in pool.members}

    def _holders(self, name: str, fingerprint: str) -> list[Keeper]:
        """Find whose token that is, as far as it is still in hand."""
        return [entry.keeper for entry in self.members(name) if self._alive(entry.keeper) == fingerprint]

    def _alive(self, keeper: Keeper) -> str | None:
        """Name the token in hand; None where it has expired: that upstream refuses it is no news, and no fault."""
        held = keeper.life.held
        return None if held is None or held.remaining_s(self._clock.now()) <= 0 else keeper.fingerprint(held)

    def _keepers(self, pool: Pool) -> Sequence[Keeper]:
        return [self._entries.by_name[member].keeper for member in pool.members]

    # --- what to show -------------------------------------------------------------------------------------------

    def report(self, entry: Entry) -> dict[str, Any] | None:
        """Describe a pool for `status`; None for what is none."""
        pool = self._pools.get(entry.config.name)
        if pool is None:
            return None
        current = self.first(entry.config.name).config.name
        return pool_report.pool(
            entry.config.name,
            entry.config.source,
            pool,
            self._keepers(pool),
            current=current,
            clock=self._clock,
        )


def _number(fingerprint: str) -> int:
    return int(fingerprint, 16)


def _none_of(failed: Mapping[str, BrokerError]) -> BrokerError:
    """Say what each member lacks; as what a person can do something about, if that is so for one."""
    errors = failed.values()
    kind = next(
        (kind for kind in (DeadlineExceeded, NeedsLogin) if any(isinstance(error, kind) for error in errors)),
        SourceFailed,
    )
    told = "; ".join(f"{name}: {str(error)[:_SAID_MAX]}" for name, error in failed.items())
    return kind(f"no member has a token: {told}")
