"""Who asks, and whether it may have what it asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from broker.clock import Clock
from broker.engine.callers import Session, has_variable, is_run_by, session_of
from broker.engine.policy import Told
from broker.errors import Refused
from broker.model import Kind
from broker.platform.interface import Peer, Platform
from broker.service.ancestors import Ancestors, Lineage
from broker.service.consumers import Consumer
from broker.service.entries import Entry
from broker.service.events import Bus, Event, Who
from broker.service.guard import GONE, Guard
from broker.service.journal import who_is
from broker.service.pools import Pools

_NONE: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `told`: what it says of its surroundings, None where it is no helper.

    `wants`: it takes a credential of this kind only, as what it is: that goes only where a provider takes this kind (see
    `policy.verdict`). None: it gets a text that Claude Code may take for its API key, and so send to whichever provider
    it is on. `consumer`: who asks through a face on TCP, where the kernel says no more of its `peer`.
    """

    peer: Peer
    told: Told | None = None
    wants: Kind | None = None
    consumer: Consumer | None = None

    @property
    def from_tool(self) -> bool:
        """Whether it says that it is a tool or hook of Claude Code's."""
        return self.told is not None and any(name == "CLAUDECODE" for name, _ in self.told.variables)

    @property
    def pids(self) -> tuple[int, ...]:
        """Every process that it may be."""
        return self.consumer.pids if self.consumer is not None else (self.peer.pid,)


@dataclass(frozen=True, slots=True)
class Admitted:
    """A caller whom the guard let pass.

    `session`: whose helper it certainly is. `members`: those of a pool whose tokens may go there too.
    """

    session: Session | None
    who: Who
    members: frozenset[str]


class Admission:
    """Judges callers by the processes above them; without a `guard` everybody may have everything."""

    def __init__(self, platform: Platform, guard: Guard | None, clock: Clock, pools: Pools, bus: Bus) -> None:
        self._platform = platform
        self._ancestors = Ancestors(platform)
        self._guard = guard
        self._clock = clock
        self._pools = pools
        self._bus = bus

    async def admit(self, caller: Caller, entry: Entry) -> Admitted:
        """Ask the guard. Raises `Refused`."""
        who = Who(caller.peer.pid, "")
        lineages: list[Lineage] = []  # not an ExitStack: this is on the path of every ask
        try:
            lineages.extend(map(self._ancestors.of, caller.pids))
            session = await self._asker(caller, lineages[0]) if lineages[0].claude is not None else None
            who = who_is(caller.peer, lineages[0], session)
            members = await self._judge(caller, lineages, entry)
            _check_still_there(caller, lineages)
            return Admitted(session, who, members)
        except Refused as refused:
            self._refused(entry.keeper.name, str(refused), who)
            raise
        finally:
            for lineage in lineages:
                lineage.close()

    def who(self, caller: Caller) -> Who:
        """Say who is behind a call."""
        try:
            with self._ancestors.of(caller.peer.pid) as lineage:
                return who_is(caller.peer, lineage, self._session(caller, lineage))
        except Refused:  # too deep below anything
            return Who(caller.peer.pid, "")

    def turned_away(self, peer: Peer) -> None:
        """Note that another user's process got as far as the socket."""
        self._refused(None, f"uid {peer.uid} is another user", Who(peer.pid, ""))

    def close(self) -> None:
        """Let go of the processes that are remembered."""
        self._ancestors.close()

    async def _judge(self, caller: Caller, lineages: Sequence[Lineage], entry: Entry) -> frozenset[str]:
        """Judge by the credential's audience; of a pool by its own and each member's, and return who may be given.

        A member that names an audience is a key of that place: no pool sends it elsewhere. Where the pool names one, it
        holds for every member, and is enough for those that name none.
        """
        guard, own = self._guard, entry.config.audience
        if entry.config.name not in self._pools:
            if guard is not None:
                await self._check(guard, caller, lineages, own, entry.keeper.kind)
            return _NONE
        of = self._pools.members(entry.config.name)
        if guard is None:
            return frozenset(member.config.name for member in of)
        kind = of[0].keeper.kind
        if own:
            await self._check(guard, caller, lineages, own, kind)
        bases = {member.config.name: member.config.audience for member in of}
        fit = [
            base
            for base in dict.fromkeys(bases.values())
            if (own and not base) or await self._passes(guard, caller, lineages, base, kind)
        ]
        if not fit:
            await self._check(guard, caller, lineages, of[0].config.audience, kind)
        return frozenset(name for name, base in bases.items() if base in fit)

    async def _check(
        self, guard: Guard, caller: Caller, lineages: Sequence[Lineage], audience: tuple[str, ...], kind: Kind
    ) -> None:
        for lineage in lineages:
            await guard.check(lineage, caller.told, audience, caller.wants or kind, as_key=caller.wants is None)

    async def _passes(
        self, guard: Guard, caller: Caller, lineages: Sequence[Lineage], audience: tuple[str, ...], kind: Kind
    ) -> bool:
        return all([await guard.passes(lineage, caller.told, audience, kind) for lineage in lineages])

    def _refused(self, credential: str | None, reason: str, who: Who) -> None:
        self._bus.publish(Event("refused", credential, self._clock.now().wall, reason=reason, who=who))

    async def _asker(self, caller: Caller, lineage: Lineage) -> Session | None:
        """Find the session whose own command the caller certainly is: its early asking tells of a refusal.

        Of who wants AWS keys that is only what `awsCredentialExport` names: an SDK's `credential_process` has the same
        ancestry, and is run as often as the SDK likes.
        """
        session = self._session(caller, lineage)
        if session is None or caller.wants is None:
            return session
        if caller.wants is not Kind.AWS_SESSION or caller.told is None or self._guard is None:
            return None
        exports = await self._guard.exports(lineage, caller.told)
        is_one = is_run_by(exports, lineage.chain, self._platform.arguments)
        return replace(session, exports=True) if is_one and lineage.same() else None

    def _session(self, caller: Caller, lineage: Lineage) -> Session | None:
        if caller.from_tool or lineage.claude is None:
            return None
        session = session_of(lineage.chain, self._platform.arguments)
        if session is None or has_variable(lineage.environment, "CLAUDECODE"):
            return None  # a status line, hook or tool of Claude Code's may ask as often as it likes
        # Last of all: were the pid handed on to another process meanwhile, this would be a stranger's session.
        return session if lineage.same() else None


def _check_still_there(caller: Caller, lineages: Sequence[Lineage]) -> None:
    """Look once more at a face's consumer: were a pid handed on meanwhile, a stranger was judged. Raises `Refused`."""
    if caller.consumer is None:
        return
    # In this order: whoever is the same process afterwards held the socket as that one.
    if not (caller.consumer.holds() and all(lineage.same() for lineage in lineages)):
        raise Refused(GONE)
