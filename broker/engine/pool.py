"""Which member of a pool serves whom: the seats of sessions, and the rests of members that upstream turns away.

Prompt caches live at upstream by key's organisation, so a session stays with its member while that is healthy. Nobody
reports that a token works: a member is healthy again when its rest is over, and a rest that follows on another is
longer. Pure: times are given in, and members are names.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from broker.clock import Now
from broker.engine.callers import SESSIONS_MAX, History, Session


class Strategy(StrEnum):
    """Whom a session gets that has no healthy member yet."""

    FAILOVER = "failover"
    """The first healthy one."""
    ROUND_ROBIN = "round-robin"
    """The one after who was given last."""
    LEAST_RECENTLY_LIMITED = "least-recently-limited"
    """The one that was turned away longest ago, or never."""


class Cause(StrEnum):
    """Why a member rests."""

    LIMITED = "upstream limits its rate"
    REFUSED = "upstream refused it"


FIRST_S: Final = {Cause.LIMITED: 30.0, Cause.REFUSED: 60.0}
"""A first rest, where upstream does not say how long; each that follows on another is twice as long."""

CAP_S: Final = {Cause.LIMITED: 900.0, Cause.REFUSED: 3600.0}

RETRY_AFTER_MAX_S: Final = 24 * 3600.0
"""Longer than this no member rests, whatever upstream says."""

CALM_S: Final = 600.0
"""Rests follow on each other where less than this lies between them."""

_DOUBLINGS: Final = 16


@dataclass(slots=True)
class Member:
    """One member's standing; times are `mono`."""

    name: str
    cause: Cause = Cause.LIMITED
    rests_until: float = -math.inf
    turned_away_at: float = -math.inf
    given_at: float = -math.inf
    in_a_row: int = 0

    def rests_s(self, mono: float) -> float:
        """Seconds until it is healthy again; 0.0 where it is."""
        # A moment less a moment may be a bit more than what was added: nobody is told of more than the longest rest.
        return min(RETRY_AFTER_MAX_S, max(0.0, self.rests_until - mono))


class Pool:
    """The state of one pool."""

    def __init__(self, members: Iterable[str], strategy: Strategy) -> None:
        self.served = 0
        self.rejections = 0
        self._members: dict[str, Member] = {}
        self._seats: OrderedDict[Session, str] = OrderedDict()
        self._history = History()
        self._next = 0
        self.follow(members, strategy)

    def follow(self, members: Iterable[str], strategy: Strategy) -> None:
        """Have these members from now on; what is known of those that stay holds."""
        self.strategy = strategy
        self._members = {name: self._members.get(name, Member(name)) for name in members}

    @property
    def members(self) -> Mapping[str, Member]:
        """Every member by its name, in the config's order."""
        return self._members

    # --- choosing -----------------------------------------------------------------------------------------------

    def order(self, mono: float, seat: Session | None = None, down: Collection[str] = ()) -> list[str]:
        """Name every member, in the order in which to try them for this session (None: for who has none).

        First the healthy ones; then those that rest, since a token that is limited or was refused is better than none:
        who is only limited first, and of these who is free soonest. At last those that are `down`: without any token.
        """
        preferred = self._preferred()
        seated = None if seat is None else self._seats.get(seat)

        def rank(name: str) -> tuple[int, float, int]:
            member = self._members[name]
            rests = mono < member.rests_until
            place = -1 if name == seated else preferred.index(name)
            if name in down:
                return 3, 0.0, place
            if rests:
                return 1 + (member.cause is Cause.REFUSED), member.rests_until, place
            return 0, 0.0, place

        return sorted(preferred, key=rank)

    def took(self, now: Now, name: str, seat: Session | None) -> None:
        """This member's token is given to this session, which has its seat there from now on."""
        self.served += 1
        if name not in self._members:
            return  # a new config took it out meanwhile
        self._members[name].given_at = now.mono
        if seat is None or self._seats.pop(seat, None) != name:
            self._next = list(self._members).index(name) + 1
        if seat is not None:
            self._seats[seat] = name
            if len(self._seats) > SESSIONS_MAX:
                self._seats.popitem(last=False)

    # --- what upstream thinks -----------------------------------------------------------------------------------

    def noted(self, now: Now, session: Session, token: int, ttl_s: float) -> None:
        """Remember what the helper of `session` was given, and for how long it keeps it; `token`: its fingerprint."""
        self._history.given(now, session, token, ttl_s)

    def refused_by(self, now: Now, session: Session, in_hand: Mapping[str, int]) -> str | None:
        """Return the member whose token this ask tells to be refused, if it tells that (`History`).

        `in_hand`: the fingerprint of the token in hand, by member.
        """
        name = self._seats.get(session)
        if name is None or name not in in_hand:
            return None
        return name if self._history.tells_refusal(now, session, in_hand[name]) else None

    def refused(self, now: Now, name: str) -> bool:
        """Upstream refused this member's token (401, 403): return whether that is news."""
        return self._turned_away(now, name, Cause.REFUSED, 0.0)

    def limited(self, now: Now, name: str, retry_after_s: float) -> bool:
        """Upstream limits this member's rate (429), for so long where that is not 0: return whether that is news."""
        return self._turned_away(now, name, Cause.LIMITED, retry_after_s)

    def renewed(self, now: Now, name: str, *, by_person: bool) -> None:
        """The member has another token: a refusal of the one before does not concern it.

        Unless the one before that was refused as well; then only what a person did (`by_person`: another key is stored,
        the config is another) is a reason to believe in it.
        """
        member = self._members[name]
        if member.cause is Cause.REFUSED and (by_person or member.in_a_row == 1):
            member.rests_until = min(member.rests_until, now.mono)

    def forgive(self) -> None:
        """End every rest, as a person says so."""
        for member in self._members.values():
            member.rests_until = member.turned_away_at = -math.inf
            member.in_a_row = 0

    # --- decisions ----------------------------------------------------------------------------------------------

    def _preferred(self) -> list[str]:
        names = list(self._members)
        if self.strategy is Strategy.ROUND_ROBIN:
            turn = self._next % len(names)
            return names[turn:] + names[:turn]
        if self.strategy is Strategy.LEAST_RECENTLY_LIMITED:
            return sorted(names, key=lambda name: self._members[name].turned_away_at)
        return names

    def _turned_away(self, now: Now, name: str, cause: Cause, at_least_s: float) -> bool:
        member = self._members[name]
        told_s = min(at_least_s, RETRY_AFTER_MAX_S)
        if now.mono < member.rests_until and member.given_at <= member.turned_away_at:
            # Another session, about the token that it was given before: nothing new, but upstream may name a time.
            member.rests_until = max(member.rests_until, now.mono + told_s)
            return False
        self.rejections += cause is Cause.REFUSED
        in_a_row = now.mono < member.rests_until + CALM_S
        member.in_a_row = min(member.in_a_row + 1, _DOUBLINGS) if in_a_row else 1
        grown_s = min(FIRST_S[cause] * 2 ** (member.in_a_row - 1), CAP_S[cause])
        member.cause = cause
        member.turned_away_at = now.mono
        member.rests_until = now.mono + (told_s or grown_s)
        return True
