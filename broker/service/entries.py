"""The sources and keepers of a config: made, kept as far as a new config leaves them alone, and given back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from broker.clock import Clock
from broker.config import Config, CredentialConfig, SourceConfig
from broker.service.cache import TokenCache, settings_digest
from broker.service.events import Event
from broker.service.keeper import Keeper
from broker.sources.interface import Context, Source
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
        self._farewells: dict[asyncio.Task[None], list[Keeper]] = {}

    @property
    def keepers(self) -> list[Keeper]:
        """Every credential's keeper, by the config's order."""
        return [entry.keeper for entry in self.by_name.values()]

    @property
    def leaving(self) -> list[Keeper]:
        """The keepers of earlier configs that still have somebody to answer."""
        return [keeper for keepers in self._farewells.values() for keeper in keepers]

    def of_source(self, name: str) -> list[Entry]:
        """Return the credentials that come from the source of this name."""
        return [entry for entry in self.by_name.values() if entry.opened.config.name == name]

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
        for entry in dropped:
            entry.keeper.retire()
        for name in kept:
            entries[name].keeper.retime(entries[name].config.timing)
        if dropped or unused:
            self._bid_farewell(dropped, unused)
        return [entry.keeper for name, entry in entries.items() if name not in kept]

    async def reopen(self) -> None:
        """Close every source, whatever it knows, and set up others in their place."""
        left = list(self.sources.values())
        self.sources = {opened.config.name: self._open(opened.config) for opened in left}
        for name, entry in self.by_name.items():
            opened = self.sources[entry.config.source]
            entry.keeper.fetcher = opened.source.fetcher(entry.config.settings, name)
            self.by_name[name] = replace(entry, opened=opened)
        await asyncio.gather(_give_back(left), self._hurry())

    async def close(self) -> None:
        """Stop every fetch, and give back what sources borrowed."""
        await self._hurry()
        await asyncio.gather(*(keeper.close() for keeper in self.keepers))
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
        keeper = Keeper(
            wanted.name,
            opened.source.fetcher(wanted.settings, wanted.name),
            wanted.timing,
            clock=self._clock,
            publish=self._publish,
            fingerprint_key=self._store.derive("fingerprint"),
            cache=self._cache(wanted, opened.config),
            kind=opened.config.type.kind(wanted.settings),
        )
        return Entry(wanted, opened, keeper)

    def _cache(self, wanted: CredentialConfig, source: SourceConfig) -> TokenCache | None:
        if not source.type.cacheable:
            return None
        return TokenCache(self._store, wanted.name, settings_digest(source, wanted), self._boot)

    def _bid_farewell(self, dropped: list[Entry], unused: list[Opened]) -> None:
        task = asyncio.create_task(_close_when_settled(dropped, unused))
        self._farewells[task] = [entry.keeper for entry in dropped]
        task.add_done_callback(self._farewells.pop)

    async def _hurry(self) -> None:
        """Wait for no fetch of an earlier config any longer."""
        for farewell in self._farewells:
            farewell.cancel()
        await asyncio.gather(*self._farewells, return_exceptions=True)


async def _close_when_settled(dropped: Iterable[Entry], unused: Iterable[Opened]) -> None:
    """Let who still waits for a credential of the old config have the answer, then give back the sources."""
    try:
        await asyncio.gather(*(entry.keeper.settled() for entry in dropped))
    finally:  # at the daemon's end too
        await asyncio.gather(*(entry.keeper.close() for entry in dropped))
        await _give_back(unused)


async def _give_back(sources: Iterable[Opened]) -> None:
    """Close sources, best effort: one that hangs must not keep the daemon from ending."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_CLOSE_S):
            await asyncio.gather(*(opened.source.close() for opened in sources), return_exceptions=True)
