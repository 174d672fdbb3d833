"""Connections that have said nothing yet: a helper that asks is answered at once, all others are aiohttp's."""

from __future__ import annotations

import asyncio
import math
import re
import socket
from contextlib import suppress
from typing import Protocol, cast

from aiohttp import web

from broker.endpoints.connections import IDLE_MAX_S


class Asks(Protocol):
    """The one kind of request that is answered here."""

    def understand(self, said: bytes) -> re.Match[bytes] | None:
        """Recognise an ask in what a connection said first; None where that is for the server."""

    async def answer(self, arrival: Arrival, ask: re.Match[bytes]) -> bytes:
        """Return all that is to be written. Raises `ConnectionError` where the client left."""


class Arrival(asyncio.Protocol):
    """One connection, until it is handed over or answered."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals
        self._transport: asyncio.Transport | None = None
        self._answering: asyncio.Task[None] | None = None

    @property
    def socket(self) -> socket.socket:
        """The connection itself. Raises `ConnectionResetError` where it is gone."""
        found = self._transport.get_extra_info("socket") if self._transport is not None else None
        if found is None:
            raise ConnectionResetError
        return cast("socket.socket", found)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for its first words."""
        self._transport = cast("asyncio.Transport", transport)
        self._arrivals.came(self)

    def data_received(self, data: bytes) -> None:
        """Take them; after an ask nothing more is read."""
        if self._transport is None or self._answering is not None:
            return
        ask = self._arrivals.asks.understand(data)
        if ask is None:
            self._arrivals.hand_over(self, self._transport, data)
        else:
            self._arrivals.asked(self)
            self._answering = asyncio.get_running_loop().create_task(self._answer(self._transport, ask))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's own signature
        """Call off what nobody waits for any more."""
        self._arrivals.left(self)
        self._transport = None
        if self._answering is not None:
            self._answering.cancel()

    def force_close(self) -> None:
        """Let go of it."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Let go of it, also of what is not written yet."""
        if self._transport is not None:
            self._transport.abort()

    async def _answer(self, transport: asyncio.Transport, ask: re.Match[bytes]) -> None:
        with suppress(ConnectionError):
            transport.write(await self._arrivals.asks.answer(self, ask))
        transport.close()


class Arrivals:
    """Makes and keeps them, beside the connections of `server`, in whose place it stands for `Connections`."""

    def __init__(self, server: web.Server, asks: Asks, idle_max_s: float = IDLE_MAX_S) -> None:
        """Take the place of `server`. `idle_max_s`: who says nothing for so long is let go."""
        self.asks = asks
        self._server = server
        self._idle_max_s = idle_max_s
        self._loop = asyncio.get_running_loop()
        self._since: dict[Arrival, float] = {}
        """When each came, oldest first; inf where it has asked."""
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self) -> Arrival:
        """Make the protocol of a new connection."""
        return Arrival(self)

    @property
    def connections(self) -> list[Arrival | web.RequestHandler]:
        """All that are open, the server's too."""
        return [*self._since, *self._server.connections]

    async def shutdown(self, timeout: float) -> None:  # noqa: ASYNC109  # the server's own signature
        """Close them all."""
        for arrival in list(self._since):
            arrival.abort()
        if self._timer is not None:
            self._timer.cancel()
        await self._server.shutdown(timeout)

    def came(self, arrival: Arrival) -> None:
        """Note a new one."""
        self._since[arrival] = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_later(self._idle_max_s, self._close_silent)

    def asked(self, arrival: Arrival) -> None:
        """Note that it is being answered."""
        self._since[arrival] = math.inf

    def left(self, arrival: Arrival) -> None:
        """Forget it."""
        self._since.pop(arrival, None)

    def hand_over(self, arrival: Arrival, transport: asyncio.Transport, said: bytes) -> None:
        """Let the server have it, as if nothing had been read yet."""
        self.left(arrival)
        handler = self._server()
        transport.set_protocol(handler)
        handler.connection_made(transport)
        handler.data_received(said)

    def _close_silent(self) -> None:
        """Close those that have said nothing for too long, and look again when the next one may have."""
        self._timer = None
        before = self._loop.time() - self._idle_max_s
        for arrival, since in list(self._since.items()):
            if since <= before:
                arrival.force_close()
        waiting = min(self._since.values(), default=math.inf)
        if waiting < math.inf:
            self._timer = self._loop.call_at(max(waiting, before) + self._idle_max_s, self._close_silent)
