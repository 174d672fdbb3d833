"""All credentials of one config: finds the one that is asked for, and follows the config when it changes."""

from __future__ import annotations

import asyncio
import difflib
import logging
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from broker.clock import Clock
from broker.config import Config, CredentialConfig, SourceConfig
from broker.engine.callers import Session, has_variable, session_of
from broker.engine.vocabulary import Held
from broker.errors import BadRequest, UnknownCredential
from broker.platform.interface import Peer, Platform
from broker.service.ancestors import Ancestors, Lineage
from broker.service.events import Bus
from broker.service.keeper import Keeper
from broker.service.secrets import Lending, LentSecrets, StoredSecrets
from broker.sources.interface import Source
from broker.storage.interface import Store

log = logging.getLogger(__name__)

_NAMES: Final = 8
"""Credentials that an error line names."""

_CLOSE_S: Final = 2.0
"""How long sources may take to give back what they borrowed."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `from_tool`: its environment says that it is a tool or hook of Claude Code's."""

    peer: Peer
    from_tool: bool = False


@dataclass(frozen=True, slots=True)
class Served:
    """A token on its way to a caller."""

    credential: str
    held: Held
    expires_in_s: int | None
    fingerprint: str


@dataclass(frozen=True, slots=True)
class _Opened:
    config: SourceConfig
    source: Source


@dataclass(frozen=True, slots=True)
class _Entry:
    config: CredentialConfig
    opened: _Opened
    keeper: Keeper


class Broker:
    """Hands out tokens of the credentials of a config."""

    def __init__(self, config: Config, platform: Platform, clock: Clock, store: Store) -> None:
        self.bus = Bus()
        self.clock = clock
        self.config = config
        self._platform = platform
        self._ancestors = Ancestors(platform)
        self.secrets = StoredSecrets(store)
        self._context = Lending(LentSecrets(self.secrets))
        self._fingerprint_key = store.derive("fingerprint")
        self._sources: dict[str, _Opened] = {}
        self._entries: dict[str, _Entry] = {}
        self._farewells: set[asyncio.Task[None]] = set()
        self.apply(config)

    # --- asking -------------------------------------------------------------------------------------------------

    async def token(self, name: str | None, ttl_s: float, deadline_s: float, caller: Caller) -> Served:
        """Return a token of credential `name` (None: the default one) to keep for `ttl_s`.

        Raises `BadRequest`, `UnknownCredential`, and whatever `Keeper.ask` raises.
        """
        keeper = self.keeper(name)
        with self._ancestors.of(caller.peer.pid) as lineage:
            session = self._session(caller, lineage) if self.config.daemon.infer_rejection else None
        held = await keeper.ask(ttl_s, deadline_s, session)
        remaining_s = held.remaining_s(self.clock.now())
        expires_in_s = None if held.issued.expires_at is None else max(0, int(remaining_s))
        return Served(keeper.name, held, expires_in_s, keeper.fingerprint(held))

    def keeper(self, name: str | None) -> Keeper:
        """Find a credential; raise `BadRequest` where none is meant, `UnknownCredential` where there is none."""
        wanted = name if name is not None else self.config.default
        if wanted is None:
            names = sorted(self._entries)
            some = ", ".join(names[:_NAMES]) + (", ..." if len(names) > _NAMES else "")
            raise BadRequest(f"which credential? The config has {some}; name one, or set default in {self.config.path}")
        entry = self._entries.get(wanted)
        if entry is None:
            near = difflib.get_close_matches(wanted, self._entries, n=1)
            hint = f"did you mean {near[0]}?" if near else f"add [credentials.{wanted}]"
            raise UnknownCredential(f"{self.config.path}: no credential {wanted[:64]!r}; {hint}")
        return entry.keeper

    def credentials(self) -> Iterable[tuple[Keeper, str]]:
        """List every credential, by the config's order, with its source's name."""
        return [(entry.keeper, entry.config.source) for entry in self._entries.values()]

    # --- the config's life --------------------------------------------------------------------------------------

    def apply(self, config: Config) -> None:
        """Serve this config from now on; a credential whose settings did not change keeps its token."""
        sources = {name: self._open(wanted) for name, wanted in config.sources.items()}
        entries = {name: self._entry(wanted, sources[wanted.source]) for name, wanted in config.credentials.items()}
        dropped = [entry for name, entry in self._entries.items() if entries.get(name) is not entry]
        unused = [source for name, source in self._sources.items() if sources.get(name) is not source]
        self.config, self._entries, self._sources = config, entries, sources
        for entry in dropped:
            entry.keeper.retire()
        if dropped or unused:
            farewell = asyncio.create_task(_close_when_settled(dropped, unused))
            self._farewells.add(farewell)
            farewell.add_done_callback(self._farewells.discard)

    async def close(self) -> None:
        """Stop every fetch, and give back what sources borrowed."""
        for farewell in self._farewells:
            farewell.cancel()
        await asyncio.gather(*self._farewells, return_exceptions=True)
        await asyncio.gather(*(entry.keeper.close() for entry in self._entries.values()))
        await _give_back(self._sources.values())

    def _open(self, wanted: SourceConfig) -> _Opened:
        before = self._sources.get(wanted.name)
        if before is not None and before.config == wanted:
            return before
        return _Opened(wanted, wanted.type.open(wanted.settings, self._context))

    def _entry(self, wanted: CredentialConfig, opened: _Opened) -> _Entry:
        before = self._entries.get(wanted.name)
        if before is not None and before.config == wanted and before.opened is opened:
            return before
        keeper = Keeper(
            wanted.name,
            opened.source.fetcher(wanted.settings, wanted.name),
            wanted.timing,
            clock=self.clock,
            publish=self.bus.publish,
            fingerprint_key=self._fingerprint_key,
        )
        return _Entry(wanted, opened, keeper)

    def _session(self, caller: Caller, lineage: Lineage) -> Session | None:
        if caller.from_tool or lineage.claude is None:
            return None
        session = session_of(lineage.chain, self._platform.arguments)
        if session is None or has_variable(lineage.environment, "CLAUDECODE"):
            return None  # a status line, hook or tool of Claude Code's may ask as often as it likes
        # Last of all: were the pid handed on to another process meanwhile, this would be a stranger's session.
        return session if lineage.same() else None


async def _close_when_settled(dropped: Iterable[_Entry], unused: Iterable[_Opened]) -> None:
    """Let who still waits for a credential of the old config have the answer, then give back the sources."""
    try:
        await asyncio.gather(*(entry.keeper.settled() for entry in dropped))
    finally:  # at the daemon's end too
        await asyncio.gather(*(entry.keeper.close() for entry in dropped))
        await _give_back(unused)


async def _give_back(sources: Iterable[_Opened]) -> None:
    """Close sources, best effort: one that hangs must not keep the daemon from ending."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_CLOSE_S):
            await asyncio.gather(*(opened.source.close() for opened in sources), return_exceptions=True)
