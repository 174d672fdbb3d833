"""A control socket with scripted sources behind it, in this process, on a real Unix socket."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from broker import listener, platform
from broker.clock import SystemClock
from broker.config import Config, CredentialConfig, DaemonConfig, SourceConfig
from broker.endpoints.connections import IDLE_MAX_S, Connections
from broker.endpoints.control.arrivals import Arrivals
from broker.endpoints.control.calls import create_app
from broker.endpoints.control.helper_asks import HelperAsks
from broker.endpoints.control.middleware import CONNECTIONS
from broker.model import Issued, Timing
from broker.platform import Peer
from broker.service.broker import Broker
from broker.sources.interface import NoSettings, PlainSource, SourceType
from tests.fakes.store import FakeStore


@dataclass
class Scripted:
    """A fetcher that gives what `outcome` holds: something issued, or an error to raise."""

    outcome: Issued | Exception
    timeout_s: float = 30.0
    fetches: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    async def fetch(self) -> Issued:
        self.fetches += 1
        await self.gate.wait()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def changed(self) -> bool:
        return False


@dataclass(frozen=True)
class Answer:
    """One HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:  # noqa: ANN401  # whatever JSON holds
        return json.loads(self.body)


class Stranger:
    """This platform, but every caller is another user."""

    def __init__(self) -> None:
        self._own = platform.current()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # the platform's own methods
        return getattr(self._own, name)

    def peer(self, connection: socket.socket) -> Peer:
        return Peer(uid=os.geteuid() + 1, pid=self._own.peer(connection).pid)


class Face:
    """The running control socket."""

    def __init__(self, path: Path, sources: dict[str, Scripted], system: platform.Platform, idle_max_s: float) -> None:
        self._idle_max_s = idle_max_s
        self.path = path
        self.sources = sources
        self._system = system
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> None:
        self.broker = Broker(_config(self.sources), self._system, SystemClock(), FakeStore())
        await self.serve(create_app(self.broker, self._system, lambda: {"version": "test", "warnings": []}))

    async def serve(self, app: web.Application) -> None:
        """Serve another broker's calls."""
        self.runner = web.AppRunner(
            app,
            access_log=None,
            handler_cancellation=True,
            keepalive_timeout=self._idle_max_s,
            shutdown_timeout=1,
            lingering_time=1,
        )
        await self.runner.setup()
        assert self.runner.server is not None
        self.listener = listener.own_socket(self.path)
        self.arrivals = Arrivals(self.runner.server, HelperAsks(app), self._idle_max_s)
        self.connections = Connections(self.arrivals, self.listener)
        app[CONNECTIONS].append(self.connections)
        self.connections.start()

    async def stop(self) -> None:
        self.broker.bus.close()
        await self.leave()
        await self.broker.close()

    async def leave(self) -> None:
        """Close the socket, and nothing behind it."""
        await self.connections.drain(answers_s=1, requests_s=0)
        await self.runner.cleanup()
        self.listener.close()
        for writer in self._writers:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection, which is closed at the test's end at the latest."""
        reader, writer = await asyncio.open_unix_connection(self.path)
        self._writers.append(writer)
        return reader, writer

    async def raw(self, request: bytes) -> bytes:
        """Send these bytes, and read until the daemon closes."""
        reader, writer = await self.connect()
        writer.write(request)
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        return answer

    async def get(self, target: str, **headers: str) -> Answer:
        return await self.call("GET", target, b"", **headers)

    async def post(self, target: str, body: object) -> Answer:
        return await self.call("POST", target, json.dumps(body).encode())

    async def call(self, method: str, target: str, body: bytes, **headers: str) -> Answer:
        lines = [f"{method} {target} HTTP/1.1", "Host: broker", "Connection: close", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        return parsed(await self.raw("\r\n".join([*lines, "", ""]).encode() + body))


@pytest.fixture
def sources() -> dict[str, Scripted]:
    """Give the credentials of the config by name; a test may change what their sources give."""
    return {"work": Scripted(Issued.token("fake-token-1")), "other": Scripted(Issued.token("fake-token-2"))}


@pytest.fixture
async def face(sources: dict[str, Scripted]) -> AsyncIterator[Face]:
    """Give a control socket that serves `sources` to this user."""
    async for running in running_face(sources, platform.current()):
        yield running


@pytest.fixture
async def foreign_face(sources: dict[str, Scripted]) -> AsyncIterator[Face]:
    """Give a control socket to which every caller looks like another user."""
    async for running in running_face(sources, Stranger()):
        yield running


async def running_face(
    sources: dict[str, Scripted], system: platform.Platform, idle_max_s: float = IDLE_MAX_S
) -> AsyncIterator[Face]:
    """Run a control socket for `sources` on `system`."""
    with tempfile.TemporaryDirectory(prefix="b-") as folder:
        running = Face(Path(folder, "s", "b.sock"), sources, system, idle_max_s)
        await running.start()
        yield running
        await running.stop()


def _config(sources: dict[str, Scripted]) -> Config:
    types = {name: SourceType(name, NoSettings, NoSettings, _opener(fetcher)) for name, fetcher in sources.items()}
    return Config(
        path=Path("/nowhere/config.toml"),
        default="work",
        sources={name: SourceConfig(name, type_, NoSettings()) for name, type_ in types.items()},
        credentials={name: CredentialConfig(name, name, NoSettings(), Timing(), ()) for name in types},
        daemon=DaemonConfig(),
    )


def _opener(fetcher: Scripted) -> Any:  # noqa: ANN401  # a source type's `open`
    return lambda _settings, _context: PlainSource(lambda _own: fetcher)


def parsed(raw: bytes) -> Answer:
    """Take a raw HTTP answer apart."""
    head, _, body = raw.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return Answer(int(status.split()[1]), headers, body)
