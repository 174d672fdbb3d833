"""A metadata server in this process, on real TCP, in front of a source that mints what Google would."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from broker import platform
from broker.clock import SystemClock
from broker.config import Config, CredentialConfig, DaemonConfig, SourceConfig
from broker.config.structs import Endpoints, GcpEndpointConfig
from broker.endpoints.faces import Faces
from broker.endpoints.gcp import MetadataServer
from broker.errors import BadRequest, Refused
from broker.model import TOKEN, Issued, Kind, Timing
from broker.platform.interface import Peer
from broker.secret import Secret
from broker.service.broker import Broker
from broker.service.consumer_tokens import ConsumerTokens
from broker.service.consumers import Consumer
from broker.sources.interface import NoSettings, PlainSource, SourceType, Wish
from tests.endpoints.conftest import Answer, parsed
from tests.fakes.store import FakeStore

EMAIL = "robot@proj-1.iam.gserviceaccount.com"
OTHER_EMAIL = "reader@proj-1.iam.gserviceaccount.com"
FACTS = {"email": EMAIL, "scopes": "scope-a scope-b", "project_id": "proj-1", "project_number": "1234"}


@dataclass(frozen=True)
class Settings:
    """What is wanted of the fake Google."""

    scopes: tuple[str, ...] = ("scope-a", "scope-b")
    audience: str | None = None


@dataclass
class Google:
    """The fake: what it tells of an account, how long its tokens live, whether it fails, and what it was asked."""

    facts: Mapping[str, str] = field(default_factory=lambda: dict(FACTS))
    kind: Kind = Kind.ACCESS_TOKEN
    life_s: float | None = 3600.0
    failure: Exception | None = None
    asked: list[Settings] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    def fetcher(self, settings: Settings) -> _Fetcher:
        return _Fetcher(self, settings)


@dataclass
class _Fetcher:
    google: Google
    settings: Settings
    timeout_s: float = 30.0

    async def fetch(self) -> Issued:
        google = self.google
        google.asked.append(self.settings)
        await google.gate.wait()
        if google.failure is not None:
            raise google.failure
        what = self.settings.audience or "+".join(self.settings.scopes)
        ends = None if google.life_s is None else SystemClock().now().wall + google.life_s
        kind = Kind.ID_TOKEN if self.settings.audience else google.kind
        return Issued({TOKEN: Secret(f"fake-{what}-{len(google.asked)}")}, ends, kind=kind, details=google.facts)

    def changed(self) -> bool:
        return False


class Consumers:
    """Says of every connection that it is this process's, or a stranger's."""

    def __init__(self) -> None:
        self.stranger = False

    def check(self, _connection: object) -> None:
        if self.stranger:
            raise Refused("this daemon serves another uid only")

    async def of(self, _connection: object) -> Consumer:
        return Consumer((os.getpid(),), lambda: True)


class World:
    """The running face."""

    def __init__(self, credentials: Mapping[str, Google], default: str | None, type_name: str) -> None:
        self.google = next(iter(credentials.values()))
        self.consumers = Consumers()
        config = _config(credentials, default, type_name)
        store = FakeStore()
        self.broker = Broker(config, platform.current(), SystemClock(), store)
        self.face = MetadataServer(self.broker, ConsumerTokens(store))
        self.faces = Faces([self.face], self.consumers, Path("/nonexistent"))  # type: ignore[arg-type]  # a fake

    @property
    def address(self) -> str:
        return self.faces.addresses["gcp"]

    async def get(self, target: str, **headers: str) -> Answer:
        """Ask as Google's clients do; a header that is "" is left out."""
        return await self.call("GET", target, b"", **({"Metadata_Flavor": "Google"} | headers))

    async def metadata(self, path: str, **headers: str) -> Answer:
        return await self.get(f"/computeMetadata/v1/{path}", **headers)

    def expires_at(self, name: str) -> float:
        """Return when the token in hand ends."""
        held = self.broker.keeper(name).life.held
        assert held is not None
        assert held.issued.expires_at is not None
        return held.issued.expires_at

    async def subject_token(self, name: str) -> dict[str, Any]:
        """Return what an executable source prints."""
        return await self.face.exchange.printed(name, Peer(os.geteuid(), os.getpid()))

    async def post(self, target: str, form: Mapping[str, str], **headers: str) -> Answer:
        """Send a form, as OAuth's clients do."""
        body = urlencode(form).encode()
        return await self.call("POST", target, body, Content_Type="application/x-www-form-urlencoded", **headers)

    async def call(self, method: str, target: str, body: bytes, **headers: str) -> Answer:
        host, port = self.address.rsplit(":", 1)
        given = {"Host": self.address, "Connection": "close", "Content-Length": str(len(body))} | headers
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in given.items() if value]
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write("\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""]).encode() + body)
        raw = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        await writer.wait_closed()
        return parsed(raw)


@asynccontextmanager
async def serving(
    credentials: Mapping[str, Google] | None = None, default: str | None = None, type_name: str = "gcp"
) -> AsyncIterator[World]:
    """Serve these credentials, one if none are given. `default`: what the config says is served to most."""
    world = World(credentials or {"vertex": Google()}, default, type_name)
    await world.faces.follow(world.broker.config.endpoints)
    try:
        yield world
    finally:
        world.broker.bus.close()
        await world.faces.drain(1, 0)
        await world.broker.close()


def _config(credentials: Mapping[str, Google], default: str | None, type_name: str) -> Config:
    return Config(
        path=Path("/nowhere/config.toml"),
        default=None,
        sources={
            name: SourceConfig(name, _type(google, type_name), NoSettings()) for name, google in credentials.items()
        },
        credentials={name: CredentialConfig(name, name, Settings(), Timing(), ()) for name in credentials},
        daemon=DaemonConfig(),
        endpoints=Endpoints(gcp=GcpEndpointConfig("127.0.0.1", 0, default)),
    )


def _type(google: Google, name: str) -> SourceType:
    def opened(_settings: object, _context: object) -> PlainSource:
        return PlainSource(google.fetcher)

    def derived(settings: Settings, wish: Wish) -> Settings:
        if wish.target_audience is not None:
            if name != "gcp":
                raise BadRequest("this credential has its own token and no other")
            return replace(settings, audience=wish.target_audience)
        allowed = tuple(scope for scope in wish.scopes if scope in settings.scopes)
        return replace(settings, scopes=allowed or settings.scopes)

    return SourceType(name, NoSettings, Settings, opened, kind=lambda _settings: google.kind, derived=derived)
