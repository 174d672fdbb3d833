"""Takes connections from a listening socket, and lets go of them: slow clients first, and at the end all."""

from __future__ import annotations

import asyncio
import errno
import logging
import resource
import socket
from collections.abc import Sequence
from typing import Final, Protocol, cast

log = logging.getLogger(__name__)

IDLE_MAX_S: Final = 10.0
"""A connection that has not sent a whole request after this long is closed."""

_ACCEPT_AT_ONCE: Final = 64
_OUT_OF_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_RETRY_S: Final = 0.05
_WARN_AGAIN_S: Final = 60.0
"""Anybody on the machine can flood a face's port, and must not fill the log: 100 bytes for each connection."""
_POLL_S: Final = 0.01


class Connection(Protocol):
    """One of them."""

    def force_close(self) -> None:
        """Let go of it."""


class Serving(Protocol):
    """Makes connections and keeps them: aiohttp's `web.Server`, or what stands in its place."""

    @property
    def connections(self) -> Sequence[Connection]:
        """All that are open, oldest first."""

    def __call__(self) -> asyncio.BaseProtocol:
        """Make one."""

    async def shutdown(self, timeout: float) -> None:  # noqa: ASYNC109  # the server's own
        """Close them all."""


class Connections:
    """The open connections of one listening socket.

    asyncio's own server is not used: closing it loses connections that were accepted but not yet wrapped, and
    the listening socket has to stay open for the next daemon where a service manager holds it.
    """

    def __init__(self, server: Serving, listener: socket.socket, most: int = 4096) -> None:
        """Accept nothing yet. `most`: so many connections are open at a time, and not many more."""
        self.draining = False
        self._server = server
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._arriving: set[asyncio.Task[None]] = set()
        self._warned_at: float | None = None
        self._busy: set[object] = set()
        self._served: set[object] = set()
        self._room = 0
        """Connections that may come before it is time to count again."""
        self._limit = max(16, min(most, resource.getrlimit(resource.RLIMIT_NOFILE)[0] * 3 // 4))

    def start(self) -> None:
        """Begin to accept."""
        self._listener.settimeout(0)  # non-blocking
        self._loop.add_reader(self._listener, self._accept)

    def began(self, connection: object) -> None:
        """Note that a request is being answered on this connection: it is not idle."""
        self._busy.add(connection)

    def ended(self, connection: object, *, stays_open: bool) -> None:
        """Note that the answer is ready; the connection may be dropped unless another request comes."""
        self._busy.discard(connection)
        if stays_open:
            self._served.add(connection)

    async def drain(self, answers_s: float, requests_s: float) -> None:
        """Accept no more; let requests under way be answered; then close everything.

        A connection that was accepted but has sent nothing yet gets `requests_s` to do so, since its client is
        most likely just about to. What is not accepted stays in the socket's queue for the next daemon.
        """
        self._loop.remove_reader(self._listener)
        self.draining = True
        if self._arriving:
            await asyncio.wait(self._arriving)
        for connection in self._server.connections:
            if connection in self._served and connection not in self._busy:
                connection.force_close()
        started = self._loop.time()
        while live := self._server.connections:
            waited_s = self._loop.time() - started
            busy = any(connection in self._busy for connection in live)
            if waited_s >= (answers_s if busy else requests_s):
                break
            await asyncio.sleep(_POLL_S)
        await self._server.shutdown(timeout=0)

    def _accept(self) -> None:
        for _ in range(_ACCEPT_AT_ONCE):
            try:
                connection, _address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _OUT_OF_DESCRIPTORS:
                    raise
                self._pause()
                return
            self._arriving.add(self._loop.create_task(self._welcome(connection)))

    async def _welcome(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._admit, connection)
        finally:
            self._arriving.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    def _pause(self) -> None:
        """Out of descriptors: let go of an idle connection and try again a little later."""
        self._drop_idle(self._server.connections)
        self._loop.remove_reader(self._listener)
        self._loop.call_later(_RETRY_S, self._resume)

    def _resume(self) -> None:
        if not self.draining:
            self._loop.add_reader(self._listener, self._accept)

    def _admit(self) -> asyncio.BaseProtocol:
        """Make the protocol of a new connection."""
        self._room -= 1
        if self._room <= 0:
            self._make_room()
        return self._server()

    def _make_room(self) -> None:
        """Count what is open, which takes longer the more there is; a flood of idle ones drops the oldest of them."""
        live = self._server.connections
        if len(live) >= self._limit:
            self._drop_idle(live)
        self._served.intersection_update(live)
        self._room = min(self._limit - len(live), _ACCEPT_AT_ONCE)

    def _drop_idle(self, live: Sequence[Connection]) -> None:
        oldest = next((connection for connection in live if connection not in self._busy), None)
        if oldest is not None:
            self._warn(len(live))
            oldest.force_close()

    def _warn(self, count: int) -> None:
        now = self._loop.time()
        if self._warned_at is None or now - self._warned_at >= _WARN_AGAIN_S:
            self._warned_at = now
            log.warning("%d connections are open; closing the oldest idle one, for each that comes", count)
