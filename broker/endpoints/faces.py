"""The faces on loopback TCP: opened, moved and closed as the config says, and drained at the end."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web

from broker.config.structs import EndpointConfig, Endpoints
from broker.endpoints import ports, server
from broker.endpoints.connections import Connections
from broker.endpoints.loopback import Face, Guarded
from broker.service.consumers import Consumers

log = logging.getLogger(__name__)

CONNECTIONS_MAX: Final = 256
"""Per face: anybody on the machine can connect, and must not use up the control socket's descriptors."""

_BACKLOG: Final = 256
_MOVED_ANSWERS_S: Final = 5.0
_MOVED_REQUESTS_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class _Open:
    """A face that listens. `wanted`: what the config said."""

    wanted: EndpointConfig
    address: str
    listener: socket.socket
    connections: Connections
    runner: web.AppRunner

    async def close(self, answers_s: float, requests_s: float) -> None:
        await self.connections.drain(answers_s, requests_s)
        self.listener.close()
        await self.runner.cleanup()


class Faces:
    """All faces that this daemon has; those listen whose table is in the config."""

    def __init__(self, faces: Sequence[Face], consumers: Consumers, state_dir: Path) -> None:
        self.faces = {face.name: face for face in faces}
        self._consumers = consumers
        self._folder = state_dir
        self._open: dict[str, _Open] = {}
        self._trouble: dict[str, tuple[str, str]] = {}
        self._one_by_one = asyncio.Lock()
        self._farewells: set[asyncio.Task[None]] = set()

    @property
    def addresses(self) -> dict[str, str]:
        """Where each face listens that does, `127.0.0.1:PORT`."""
        return {name: found.address for name, found in self._open.items()}

    @property
    def warnings(self) -> list[tuple[str, str]]:
        """What keeps a face from its place, as (code, message)."""
        return list(self._trouble.values())

    def trouble(self, name: str) -> str | None:
        """Say why a face does not listen although the config wants it; None where nothing is known."""
        return self._trouble[name][1] if name in self._trouble and name not in self._open else None

    async def follow(self, wanted: Endpoints) -> None:
        """Listen as this config says. What cannot be is a warning, never an error: the rest goes on."""
        async with self._one_by_one:
            for name in self.faces:
                await self._follow(name, getattr(wanted, name))
            if self._open:
                kept = ports.read(self._folder) | {name: _port(found) for name, found in self._open.items()}
                await asyncio.to_thread(ports.write, self._folder, kept)

    async def drain(self, answers_s: float, requests_s: float) -> None:
        """Accept no more, answer what is under way, and close everything."""
        closing = [found.close(answers_s, requests_s) for found in self._open.values()]
        await asyncio.gather(*closing, *self._farewells)
        self._open = {}

    async def _follow(self, name: str, wanted: EndpointConfig | None) -> None:
        before = self._open.get(name)
        if before is not None and wanted is not None and _place(before.wanted) == _place(wanted):
            return
        self._trouble.pop(name, None)
        if before is not None:
            del self._open[name]
            await self._say_farewell(before)
        if wanted is not None:
            await self._start(name, wanted)

    async def _start(self, name: str, wanted: EndpointConfig) -> None:
        try:
            listener = self._listen(name, wanted)
        except OSError as error:
            place = f"[endpoints.{name}] listen: {_written(wanted.host, wanted.port)}"
            what = os.strerror(error.errno) if error.errno else str(error)
            message = f"{place}: {what}, so nobody is served there; set another port, then: broker restart"
            self._trouble[name] = ("endpoint-closed", message)
            log.warning("%s", message)
            return
        address = _written(*listener.getsockname()[:2])
        guarded = Guarded(self.faces[name], address)
        runner = server.runner(guarded.app(self._consumers))
        await runner.setup()
        assert runner.server is not None  # noqa: S101  # for the type checker; `setup` made it
        guarded.connections = Connections(runner.server, listener, CONNECTIONS_MAX)
        guarded.connections.start()
        self._open[name] = _Open(wanted, address, listener, guarded.connections, runner)
        log.info("[endpoints.%s] listens on %s", name, address)

    def _listen(self, name: str, wanted: EndpointConfig) -> socket.socket:
        """Listen where the config says; where it leaves the port open, where it was last time, else anywhere."""
        last = ports.read(self._folder).get(name, 0) if wanted.port == 0 else wanted.port
        try:
            return _listener(wanted.host, last)
        except OSError as error:
            if wanted.port or error.errno != errno.EADDRINUSE:
                raise
        listener = _listener(wanted.host, 0)
        now, was = _written(*listener.getsockname()[:2]), _written(wanted.host, last)
        why = f"another program has {was}, where programs started earlier go on looking: start them anew"
        self._trouble[name] = ("endpoint-moved", f"[endpoints.{name}] now listens on {now}, since {why}")
        return listener

    async def _say_farewell(self, before: _Open) -> None:
        """Close it while others are served; its socket goes at once, since the config may want the place anew."""
        task = asyncio.create_task(before.close(_MOVED_ANSWERS_S, _MOVED_REQUESTS_S))
        self._farewells.add(task)
        task.add_done_callback(self._farewells.discard)
        await asyncio.sleep(0)  # it stops accepting
        before.listener.close()


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what is left of an earlier run's connections
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _place(wanted: EndpointConfig) -> tuple[str, int]:
    return wanted.host, wanted.port


def _port(found: _Open) -> int:
    port: int = found.listener.getsockname()[1]
    return port


def _written(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
