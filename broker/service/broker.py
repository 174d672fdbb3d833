"""All credentials of one config: finds the one that is asked for, and follows the config when it changes."""

from __future__ import annotations

import asyncio
import difflib
import logging
from collections.abc import Awaitable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from broker.clock import Clock, boot_id
from broker.config import Config
from broker.engine.vocabulary import Held
from broker.errors import BadRequest, UnknownCredential
from broker.model import NAME, TOKEN, Issued
from broker.platform.interface import Platform
from broker.service import report
from broker.service.admission import Admission, Caller
from broker.service.entries import Entries, Entry
from broker.service.events import Bus, Event, Who
from broker.service.guard import Guard
from broker.service.journal import Journal, Record, identity_in
from broker.service.keeper import Keeper
from broker.service.logins import KeptLogin, Logins
from broker.service.pools import Asker, Give, Pools
from broker.service.report import Json
from broker.service.safe import Safe
from broker.service.secrets import Lending, LentSecrets, StoredSecrets
from broker.service.spending import Spending
from broker.sources.interface import Wish
from broker.storage.interface import Store

log = logging.getLogger(__name__)

_NAMES: Final = 8
"""Credentials that an error line names."""

_LOOK_S: Final = 30.0
_LEND_S: Final = 25.0
"""How long a source waits for the token of another credential: less than its own fetch may take."""


@dataclass(frozen=True, slots=True)
class Served:
    """A token on its way to a caller. `member`: whose it is, where `credential` is a pool."""

    credential: str
    held: Held
    expires_in_s: int | None
    fingerprint: str
    member: str | None = None


class Broker:
    """Hands out tokens of the credentials of a config."""

    def __init__(
        self,
        config: Config,
        platform: Platform,
        clock: Clock,
        store: Store,
        *,
        boot: str | None = None,
        guard: Guard | None = None,
        record: Record | None = None,
    ) -> None:
        self.bus = Bus()
        self.clock = clock
        self.config = config
        self.secrets = StoredSecrets(store, self._secret_changed)
        self._spending = Spending()
        self._journal = Journal(clock, record) if record is not None else None
        if self._journal is not None:
            self.bus.attach(self._journal.hear)
        self._entries = Entries(
            clock=clock,
            publish=self.bus.publish,
            store=store,
            context=lambda source: Lending(
                LentSecrets(self.secrets), self._lend, KeptLogin(store, source), self._lend_unused
            ),
            boot=boot_id() if boot is None else boot,
        )
        self.safe = Safe(store, self._entries, clock=clock, publish=self.bus.publish)
        self.logins = Logins(self._entries, self.safe, self._signed, platform.process)
        self._entries.apply(config)
        self.pools = Pools(self._entries, clock)
        self.pools.follow()
        self.bus.attach(self.pools.hear)
        self.admission = Admission(platform, guard, clock, self.pools, self.bus)

    # --- asking -------------------------------------------------------------------------------------------------

    async def token(
        self,
        name: str | None,
        ttl_s: float,
        deadline_s: float,
        caller: Caller,
        wish: Wish | None = None,
        *,
        single: bool = False,
    ) -> Served:
        """Return a token of credential `name` (None: the default one) to keep for `ttl_s`, or what is wished instead.

        `single`: it must be one text. Raises `BadRequest`, `UnknownCredential`, `Locked`, `Refused`, and whatever
        `Keeper.ask` raises.
        """
        asked, keeper, held, who = await self._ask(name, ttl_s, deadline_s, caller, wish)
        if single and TOKEN not in held.issued.parts:
            raise BadRequest(f"{asked} is of kind {held.issued.kind}, not a single token; see: broker export {asked}")
        now = self.clock.now()
        remaining_s = held.remaining_s(now)
        expires_in_s = None if held.issued.expires_at is None else max(0, int(remaining_s))
        fingerprint = keeper.fingerprint(held)
        member = keeper.name if keeper.name != asked else None
        if self._journal is not None:
            identity = identity_in(held.issued.details)
            self._journal.served(now, asked, fingerprint, expires_in_s, who, identity=identity, member=member)
        return Served(asked, held, expires_in_s, fingerprint, member)

    async def details(self, name: str, deadline_s: float, caller: Caller) -> Mapping[str, str]:
        """Return what a credential's source tells of it beside its secret, fetched where it never was.

        Raises what `token` raises.
        """
        _, _, held, _ = await self._ask(name, 0.0, deadline_s, caller, None)
        return held.issued.details

    async def _ask(
        self, name: str | None, ttl_s: float, deadline_s: float, caller: Caller, wish: Wish | None
    ) -> tuple[str, Keeper, Held, Who]:
        entry = self._entry(name)
        asked, keeper = entry.config.name, entry.keeper
        self._check_no_face(asked, caller, wish)
        await self.lock_if_unused()
        deadline_s -= await self.safe.ready(deadline_s)
        self.safe.check()
        began = self.clock.now().mono
        admitted = await self.admission.admit(caller, entry)
        session, who = admitted.session if self.config.daemon.infer_rejection else None, admitted.who
        if wish is not None:
            keeper = self._entries.keeper(entry, wish)
        now = self.clock.now()
        deadline_s -= now.mono - began
        self.safe.used(now)
        if asked in self.pools:
            keeper, held = await self._ask_pool(entry, Asker(ttl_s, session, who), deadline_s, admitted.members)
        else:
            held = await keeper.ask(ttl_s, deadline_s, session, who)
        if caller.wants not in {None, held.issued.kind}:  # the guard judged another kind than this
            raise BadRequest(
                f"{keeper.name} is an {held.issued.kind}, not an {caller.wants}; ask for another credential"
            )
        return asked, keeper, held, who

    async def _ask_pool(
        self, entry: Entry, asker: Asker, deadline_s: float, among: Collection[str]
    ) -> tuple[Keeper, Held]:
        def give(keeper: Keeper, within_s: float) -> Awaitable[Held]:
            # Its own slack above the TTL is added there; where the pool's is more, that counts.
            more_s = max(0.0, entry.config.timing.min_validity_s - keeper.life.timing.min_validity_s)
            return keeper.ask(asker.ttl_s + more_s, within_s, None, asker.who)

        return await self.pools.ask(entry.config.name, asker, give, deadline_s, among)

    def _check_no_face(self, name: str, caller: Caller, wish: Wish | None) -> None:
        """Refuse to give a pool's token as one identity's: the next one may be another's. Raises `BadRequest`."""
        if name in self.pools and (caller.wants is not None or wish is not None):
            names = ", ".join(entry.config.name for entry in self.pools.members(name))
            raise BadRequest(f"{name} is a pool, which no endpoint serves; ask for one of its members: {names}")

    async def _lend(self, name: str) -> Issued:
        """Give a source the token of another credential: no caller, so nobody to judge, and no session."""
        return await self._lent(name, lambda keeper, within_s: keeper.ask(0.0, within_s))

    async def _lend_unused(self, name: str) -> Issued:
        return await self._lent(name, self._spending.lend)

    async def _lent(self, name: str, give: Give) -> Issued:
        if name in self.pools:
            return (await self.pools.ask(name, Asker(), give, _LEND_S))[1].issued
        return (await give(self._entry(name).keeper, _LEND_S)).issued

    def keeper(self, name: str | None) -> Keeper:
        """Find a credential, of a pool the member whose turn it is.

        Raises `BadRequest` where none is meant, `UnknownCredential` where there is none.
        """
        return self.pools.first(self.name(name)).keeper

    def name(self, name: str | None) -> str:
        """Return the name of the credential that is meant. Raises what `keeper` raises."""
        return self._entry(name).config.name

    def _entry(self, name: str | None) -> Entry:
        wanted = name if name is not None else self.config.default
        if wanted is None:
            names = sorted(self._entries.by_name)
            some = ", ".join(names[:_NAMES]) + (", ..." if len(names) > _NAMES else "")
            raise BadRequest(f"which credential? The config has {some}; name one, or set default in {self.config.path}")
        entry = self._entries.by_name.get(wanted)
        if entry is None:
            near = difflib.get_close_matches(wanted, self._entries.by_name, n=1)
            possible = f"add [credentials.{wanted}]" if NAME.fullmatch(wanted) else "see: broker status"
            hint = f"did you mean {near[0]}?" if near else possible
            raise UnknownCredential(f"{self.config.path}: no credential {wanted[:64]!r}; {hint}")
        return entry

    def credentials(self) -> Iterable[tuple[Keeper, str]]:
        """List every credential, by the config's order, with its source's name."""
        return [(entry.keeper, entry.config.source) for entry in self._entries.by_name.values()]

    def report(self) -> list[Json]:
        """Describe every credential, as `status` does."""
        return [self._described(entry) for entry in self._entries.by_name.values()]

    def describe(self, name: str) -> Json:
        """Describe one credential. Raises `UnknownCredential`."""
        return self._described(self._entry(name))

    def _described(self, entry: Entry) -> Json:
        return self.pools.report(entry) or report.credential(entry.keeper, entry.config.source, self.clock)

    def keepers(self) -> list[Keeper]:
        """List every credential's keepers, also of what was made of it."""
        return self._entries.keepers

    # --- the config's life --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to read what an earlier run kept; asks wait for that a moment."""
        self.safe.open()

    def apply(self, config: Config) -> None:
        """Serve this config from now on; a credential that is fetched as before keeps its token."""
        new = self._entries.apply(config)
        self.config = config
        self.pools.follow()
        self.safe.adopt(new)

    async def lock_if_unused(self) -> None:
        """Lock where nobody asked for as long as the config's `lock_after`."""
        after_s = self.config.daemon.lock_after_s
        if after_s is not None and not self.safe.locked and self.safe.unused_s() >= after_s:
            await self.safe.lock("nobody asked for as long as lock_after says")

    async def lock_when_unused(self) -> None:
        """Look, until cancelled, whether that is so."""
        while True:
            await self.lock_if_unused()
            await asyncio.sleep(_LOOK_S)

    async def close(self) -> None:
        """Stop every fetch, give back what sources borrowed, and write what is to be kept."""
        await self._entries.close()
        await self.safe.close()
        self.admission.close()

    def _secret_changed(self, name: str, what: str, who: Who | None) -> None:
        self.bus.publish(Event(what, None, self.clock.now().wall, reason=name, who=who))
        for entry in self._entries.by_name.values():
            if entry.record == name:
                entry.keeper.replaced()

    def _signed(self, what: str, source: str, who: Who) -> None:
        self.bus.publish(Event(what, None, self.clock.now().wall, reason=source, who=who))
