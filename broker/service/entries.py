"""The sources and keepers of a config: made, kept as far as a new config leaves them alone, and given back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

from broker.clock import Clock
from broker.config import Config, CredentialConfig, SourceConfig
from broker.service.cache import TokenCache, settings_digest
from broker.service.events import Event
from broker.service.keeper import Keeper
from broker.service.relatives import Relatives
from broker.sources.interface import Context, Source, Wish
from broker.storage.interface import Store

_CLOSE_S: Final = 2.0
"""How long sources may take to give back what they borrowed."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A source that is set up."""

    config: SourceConfig
    source: Source


@dataclass(frozen=True, slots=True)
class Entry:
    """A credential."""

    config: CredentialConfig
    opened: Opened
    keeper: Keeper
    relatives: Relatives = field(default_factory=Relatives)

    @property
    def keepers(self) -> list[Keeper]:
        """Its own keeper, and those of what was made of it."""
        return [self.keeper, *self.relatives]

    @property
    def leaving(self) -> list[Keeper]:
        """Those of them that were let go and still have somebody to answer."""
        return self.relatives.leaving

    @property
    def record(self) -> str | None:
        """The record of `broker secret set` that this credential is, if it is one."""
        return self.opened.config.type.record(self.config.settings, self.config.name)


class Entries:
    """All credentials of one config, by name."""

    def __init__(
        self,
        *,
        clock: Clock,
        publish: Callable[[Event], None],
        store: Store,
        context: Callable[[str], Context],
        boot: str,
    ) -> None:
        """Set up nothing yet. `context`: what to lend to the source of a name."""
        self._clock = clock
        self._publish = publish
        self._store = store
        self._context = context
        self._boot = boot
        self.sources: dict[str, Opened] = {}
        self.by_name: dict[str, Entry] = {}
        self._farewells: dict[asyncio.Task[None], list[Entry]] = {}

    @property
    def keepers(self) -> list[Keeper]:
        """Every credential's keepers, by the config's order."""
        return [keeper for entry in self.by_name.values() for keeper in entry.keepers]

    @property
    def leaving(self) -> list[Keeper]:
        """The keepers that were let go and still have somebody to answer."""
        dropped = [keeper for entries in self._farewells.values() for entry in entries for keeper in entry.keepers]
        entries = [*self.by_name.values(), *(entry for left in self._farewells.values() for entry in left)]
        return dropped + [keeper for entry in entries for keeper in entry.leaving]

    def of_source(self, name: str) -> list[Entry]:
        """Return the credentials that come from the source of this name."""
        return [entry for entry in self.by_name.values() if entry.opened.config.name == name]

    def keeper(self, entry: Entry, wish: Wish | None) -> Keeper:
        """Return the keeper of a credential, or of what is wished instead. Raises `BadRequest`, `Refused`."""
        settings = entry.config.settings
        wanted = settings if wish is None else entry.opened.config.type.derived(settings, wish)
        if wanted == settings:
            return entry.keeper
        # Not cached at rest: the record of this name is the credential's own.
        return entry.relatives.of(
            wanted, lambda settings: self._keeper(replace(entry.config, settings=settings), entry.opened, None)
        )

    def apply(self, config: Config) -> list[Keeper]:
        """Serve this config from now on, and return the new keepers.

        A credential that is fetched as before keeps its token, whatever else of it changed; who waits for one that is
        gone is answered yet.
        """
        sources = {name: self._opened(wanted) for name, wanted in config.sources.items()}
        entries = {name: self._entry(wanted, sources[wanted.source]) for name, wanted in config.credentials.items()}
        before = self.by_name
        kept = {name for name, entry in entries.items() if name in before and before[name].keeper is entry.keeper}
        dropped = [entry for name, entry in before.items() if name not in kept]
        unused = [source for name, source in self.sources.items() if sources.get(name) is not source]
        self.by_name, self.sources = entries, sources
        for keeper in (keeper for entry in dropped for keeper in entry.keepers):
            keeper.retire()
        for name in kept:
            for keeper in entries[name].keepers:
                keeper.retime(entries[name].config.timing)
        if dropped or unused:
            self._bid_farewell(dropped, unused)
        return [entry.keeper for name, entry in entries.items() if name not in kept]

    async def reopen(self) -> None:
        """Close every source, whatever it knows, and set up others in their place."""
        left = list(self.sources.values())
        self.sources = {opened.config.name: self._open(opened.config) for opened in left}
        for name, entry in self.by_name.items():
            opened = self.sources[entry.config.source]
            entry.relatives.clear()
            entry.keeper.fetcher = opened.source.fetcher(entry.config.settings, name)
            self.by_name[name] = replace(entry, opened=opened)
        await asyncio.gather(_give_back(left), self._hurry())

    async def close(self) -> None:
        """Stop every fetch, and give back what sources borrowed."""
        await self._hurry()
        await _stop(self.by_name.values())
        await _give_back(self.sources.values())

    def _opened(self, wanted: SourceConfig) -> Opened:
        before = self.sources.get(wanted.name)
        return before if before is not None and before.config == wanted else self._open(wanted)

    def _open(self, wanted: SourceConfig) -> Opened:
        return Opened(wanted, wanted.type.open(wanted.settings, self._context(wanted.name)))

    def _entry(self, wanted: CredentialConfig, opened: Opened) -> Entry:
        before = self.by_name.get(wanted.name)
        if before is not None and before.opened is opened and before.config.settings == wanted.settings:
            return replace(before, config=wanted)
        return Entry(wanted, opened, self._keeper(wanted, opened, self._cache(wanted, opened.config)))

    def _keeper(self, wanted: CredentialConfig, opened: Opened, cache: TokenCache | None) -> Keeper:
        return Keeper(
            wanted.name,
            opened.source.fetcher(wanted.settings, wanted.name),
            wanted.timing,
            clock=self._clock,
            publish=self._publish,
            fingerprint_key=self._store.derive("fingerprint"),
            cache=cache,
            kind=opened.config.type.kind(wanted.settings),
        )

    def _cache(self, wanted: CredentialConfig, source: SourceConfig) -> TokenCache | None:
        if not source.type.cacheable:
            return None
        return TokenCache(self._store, wanted.name, settings_digest(source, wanted), self._boot)

    def _bid_farewell(self, dropped: list[Entry], unused: list[Opened]) -> None:
        # Earlier ones too, where what they wait for comes from a source that only now is unused.
        earlier = [task for task, left in self._farewells.items() if any(entry.opened in unused for entry in left)]
        task = asyncio.create_task(_close_when_settled(dropped, unused, earlier))
        self._farewells[task] = dropped
        task.add_done_callback(self._farewells.pop)

    async def _hurry(self) -> None:
        """Wait for no fetch of an earlier config any longer."""
        for farewell in self._farewells:
            farewell.cancel()
        await asyncio.gather(*self._farewells, return_exceptions=True)


async def _close_when_settled(
    dropped: Iterable[Entry], unused: Iterable[Opened], earlier: Iterable[asyncio.Task[None]]
) -> None:
    """Let who still waits for a credential of an old config have the answer, then give back the sources."""
    try:
        await asyncio.gather(*(asyncio.wait({farewell}) for farewell in earlier))
        await asyncio.gather(*(keeper.settled() for entry in dropped for keeper in (*entry.keepers, *entry.leaving)))
    finally:  # at the daemon's end too
        await _stop(dropped)
        await _give_back(unused)


async def _stop(entries: Iterable[Entry]) -> None:
    """End every fetch."""
    entries = list(entries)
    await asyncio.gather(*(entry.keeper.close() for entry in entries), *(entry.relatives.close() for entry in entries))


async def _give_back(sources: Iterable[Opened]) -> None:
    """Close sources, best effort: one that hangs must not keep the daemon from ending."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_CLOSE_S):
            await asyncio.gather(*(opened.source.close() for opened in sources), return_exceptions=True)
