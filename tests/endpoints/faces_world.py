"""A face on real TCP in this process, before a broker whose sources are scripted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from broker import platform
from broker.clock import SystemClock
from broker.config.structs import EndpointConfig, Endpoints
from broker.endpoints.aws import AwsFace
from broker.endpoints.faces import Faces
from broker.model import Issued, Kind
from broker.platform.interface import Peer
from broker.secret import Secret
from broker.service.broker import Broker
from broker.service.consumer_tokens import ConsumerTokens
from broker.service.consumers import Consumers
from tests.endpoints.conftest import Answer, Scripted, _config, parsed
from tests.fakes.store import FakeStore

_NONE: Mapping[str, str | None] = {}
ANY_PORT = Endpoints(aws=EndpointConfig("127.0.0.1", 0))


def aws_session(expires_at: float | None = None, **details: str) -> Issued:
    """Issue obviously fake keys."""
    parts = {"access_key_id": "AKIAFAKE", "secret_access_key": "fake/secret+1", "session_token": "fake-session-1"}
    secrets = {name: Secret(text) for name, text in parts.items()}
    return Issued(secrets, expires_at, Kind.AWS_SESSION, details)


@dataclass
class FacesWorld:
    """The AWS face of a daemon whose state folder is `folder`."""

    folder: Path
    sources: dict[str, Scripted]
    system: platform.Platform = field(default_factory=platform.current)
    store: FakeStore = field(default_factory=FakeStore)
    strangers: list[Peer] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.broker = Broker(_config(self.sources), self.system, SystemClock(), self.store)
        self.tokens = ConsumerTokens(self.store)
        self.face = AwsFace(self.broker, self.tokens)
        self.faces = Faces([self.face], Consumers(self.system, self.strangers.append), self.folder)

    @property
    def address(self) -> str:
        """Where the face listens."""
        return self.faces.addresses["aws"]

    def path(self, name: str = "cloud") -> str:
        """Say where its keys are."""
        return f"/v1/aws/{name}"

    def authorization(self, name: str = "cloud") -> str:
        """Return what lets a new consumer in."""
        return self.tokens.issue("aws", name).reveal()

    async def keys(self, name: str = "cloud") -> Answer:
        """Ask as an SDK does."""
        return await self.get(self.path(name), {"Authorization": self.authorization(name)})

    async def get(self, target: str, headers: Mapping[str, str | None] = _NONE, method: str = "GET") -> Answer:
        """Ask with these headers beside the usual ones, or (None) without."""
        usual = {"Host": self.address, "Connection": "close", **headers}
        lines = [
            f"{method} {target} HTTP/1.1",
            *(f"{name}: {value}" for name, value in usual.items() if value is not None),
        ]
        return parsed(await self.raw("\r\n".join([*lines, "", ""]).encode()))

    async def raw(self, request: bytes) -> bytes:
        """Send these bytes, and read until the face closes."""
        host, _, port = self.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        writer.write(request)
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        return answer


@asynccontextmanager
async def running(world: FacesWorld, wanted: Endpoints = ANY_PORT) -> AsyncIterator[FacesWorld]:
    """Let it listen for as long as the block lasts."""
    await world.faces.follow(wanted)
    try:
        yield world
    finally:
        await world.faces.drain(1, 0)
        await world.broker.close()
