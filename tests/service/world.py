"""A broker on sources that do what the test's script says, and processes of a table's."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from broker.config import Config, CredentialConfig, DaemonConfig, SourceConfig
from broker.model import Process, Timing
from broker.platform.interface import Peer, Pinned, TcpPeer
from broker.service.admission import Caller
from broker.service.broker import Broker
from broker.sources.interface import Context, Fetcher, NoSettings, SourceType
from tests.fakes.store import FakeStore
from tests.service.scripted import ScriptedFetcher, Step, text_of
from tests.service.virtual_time import VirtualClock

PERSON = Caller(Peer(uid=1000, pid=0))
HELPER = Caller(Peer(uid=1000, pid=30))


@dataclass(frozen=True, slots=True)
class Settings:
    """The fakes' own settings."""

    path: str = "x"


@dataclass
class FakeSource:
    """A source whose fetchers the test scripts by credential."""

    world: World
    settings: Any
    closed: bool = False
    farewell_s: float = 0.0

    def fetcher(self, settings: Any, credential: str) -> Fetcher:  # noqa: ANN401, ARG002  # the interface's
        """Bind, and remember for the test."""
        made = self.world.fetcher_type(self.world.clock).then(*self.world.script)
        self.world.fetchers.append(made)
        return made

    async def close(self) -> None:
        """Note it; fail as sources do when the network is gone."""
        await asyncio.sleep(self.farewell_s)
        self.closed = True
        raise OSError("no network for a farewell")


@dataclass
class FakePinned:
    """A process that stays what it is."""

    process: Process

    def same(self) -> bool:
        """Always."""
        return True

    def close(self) -> None:
        """Nothing is held."""


@dataclass
class FakePlatform:
    """A process table: `30` is a helper below Claude Code `10`."""

    environ: dict[int, str] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)

    def peer(self, connection: socket.socket) -> Peer:
        """Not asked."""
        raise NotImplementedError

    def tcp_peer(self, connection: socket.socket, among: Iterable[int] | None = None) -> TcpPeer:
        """Not asked."""
        raise NotImplementedError

    def process(self, pid: int) -> Process | None:
        """Look into the table."""
        table = {30: (20, "broker-helper"), 20: (10, "sh"), 10: (1, "claude")}
        return Process(pid, table[pid][0], 5, table[pid][1]) if pid in table.keys() - self.gone else None

    def pin(self, pid: int) -> Pinned | None:
        """Hold on to nothing: this table never changes."""
        found = self.process(pid)
        return None if found is None else FakePinned(found)

    def arguments(self, pid: int) -> Sequence[str]:
        """Only the shell's matter."""
        return ["sh", "-c", "broker-helper"] if pid == 20 else []

    def environment(self, pid: int) -> bytes | None:
        """Look into the environment."""
        return f"{self.environ[pid]}=1\0".encode() if pid in self.environ else b""

    def folder(self, pid: int) -> str | None:
        """Not in this table."""

    def apart(self, pid: int) -> bool:  # noqa: ARG002  # the interface's
        """Not in this table."""
        return False

    def harden(self) -> None:
        """Not asked."""

    def give_back_pages(self) -> None:
        """It keeps what it has."""


class World:
    """A broker, what its sources did, and configs to give it."""

    def __init__(
        self,
        *script: Step,
        names: tuple[str, ...] = ("work", "play"),
        default: str | None = "work",
        store: FakeStore | None = None,
        clock: VirtualClock | None = None,
        boot: str = "boot-1",
        daemon: DaemonConfig | None = None,
        record: Callable[[Any, str], str | None] = lambda _settings, _name: None,
        fetcher_type: type[ScriptedFetcher] = ScriptedFetcher,
    ) -> None:
        self.clock = clock or VirtualClock()
        self.store = store or FakeStore()
        self.script = script
        self.fetcher_type = fetcher_type
        self.sources: list[FakeSource] = []
        self.fetchers: list[ScriptedFetcher] = []
        self.platform = FakePlatform()
        self.type = SourceType("fake", NoSettings, Settings, self._open, record=record)
        self.config = Config(
            path=Path("/config.toml"),
            default=default,
            sources={"corp": SourceConfig("corp", self.type, NoSettings())},
            credentials={name: CredentialConfig(name, "corp", Settings(), Timing(), ()) for name in names},
            daemon=daemon or DaemonConfig(),
        )
        self.audit: list[dict[str, Any]] = []
        self.broker = Broker(
            self.config, self.platform, self.clock, self.store, boot=boot, record=lambda _at, facts: self._note(facts)
        )

    def audited(self, event: str) -> list[dict[str, Any]]:
        """Return what the audit trail was told of such events."""
        return [facts for facts in self.audit if facts["event"] == event]

    def _note(self, facts: Mapping[str, Any]) -> None:
        self.audit.append({name: value for name, value in facts.items() if value is not None})

    def _open(self, settings: Any, context: Context) -> FakeSource:  # noqa: ANN401  # the interface's
        self.context = context
        self.sources.append(FakeSource(self, settings))
        return self.sources[-1]

    def with_credential(self, name: str, **changes: Any) -> Config:  # noqa: ANN401  # any field
        """Return the config with one credential changed."""
        changed = replace(self.config.credentials[name], **changes)
        return replace(self.config, credentials={**self.config.credentials, name: changed})

    async def token(self, name: str | None = None, caller: Caller = PERSON) -> str:
        """Ask; return the token's text."""
        return text_of((await self.broker.token(name, 300, 9, caller)).held.issued)
