"""A face on loopback TCP, for programs that speak a protocol of their own: AWS's SDKs, Google's.

Anybody on the machine can connect, and any web page has its reader's browser do so. So what every request goes
through here: no browser and no proxy (403), only the daemon's own user, and an asker whom the guard can judge.

To write one, make a `Face`; the daemon lists it, and `[endpoints.NAME]` turns it on. A handler asks in the name of its
caller so:

    served = await broker.token(name, ttl_s, deadline_s, await caller(request, Kind.AWS_SESSION))

where the kind is what it hands out, and so decides where Claude Code could send it: of another kind nothing is given.
Errors are raised as `BrokerError`; the face only says how they look.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from aiohttp import web

from broker.endpoints.answers import BUG, one_line
from broker.endpoints.connections import Connections
from broker.errors import BadRequest, BrokerError, Refused
from broker.model import Kind
from broker.platform.interface import Peer
from broker.service.admission import Caller
from broker.service.consumers import Consumers

log = logging.getLogger(__name__)

BODY_MAX: Final = 1024
"""Nobody sends a body: what asks for credentials is a GET."""

_FORWARDED: Final = ("X-Forwarded-For", "X-Forwarded-Host", "Forwarded", "Via")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Variables:
    """What lets a program find a credential: variables to set, and those to unset since they would win."""

    set: Mapping[str, str]
    unset: Sequence[str] = ()


class Face(Protocol):
    """One protocol for other programs."""

    @property
    def name(self) -> str:
        """Its table in the config: `[endpoints.NAME]`."""

    def serves(self, credential: str) -> bool:
        """Whether it hands out this credential of the config's, which may not have been fetched yet."""

    def routes(self) -> Sequence[web.RouteDef]:
        """Name its calls."""

    def error(self, status: int, code: str, message: str) -> web.Response:
        """Write an error as this protocol's clients read it. `message` is one printable line, never a secret."""

    def variables(self, credential: str, address: str) -> Variables:
        """Say how a program finds this credential at `address` (`127.0.0.1:PORT`). Raises `BadRequest` where it cannot."""


_CONSUMERS: Final = web.AppKey("consumers", Consumers)


class Guarded:
    """The middleware of one face that listens at `address`."""

    def __init__(self, face: Face, address: str) -> None:
        self._face = face
        self._address = address
        self.connections: Connections | None = None

    def app(self, consumers: Consumers) -> web.Application:
        """Wire the face's calls."""
        app = web.Application(middlewares=[self._guard], client_max_size=BODY_MAX)
        app[_CONSUMERS] = consumers
        app.router.add_routes(self._face.routes())
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        assert self.connections is not None  # noqa: S101  # for the type checker; nothing is accepted before
        self.connections.began(request.protocol)
        try:
            response = await self._answer(request, handler)
            response.headers["Cache-Control"] = "no-store"
            if self.connections.draining:
                response.force_close()
            return response
        finally:
            self.connections.ended(request.protocol, stays_open=request.keep_alive)

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            self._check(request)
            request.app[_CONSUMERS].check(_connection(request))
            return await handler(request)
        except BrokerError as error:
            return self._error(error.http_status, error)
        except web.HTTPException as error:
            return self._foreign(request, error)
        except ConnectionError:
            raise  # the client left; there is nobody to tell
        except Exception:  # noqa: BLE001  # the last line of defence: a bug is told by its code alone, details may be secret
            log.error("a bug while answering %s at [endpoints.%s]", request.method, self._face.name)  # noqa: TRY400  # as above
            return self._error(BrokerError.http_status, BrokerError(BUG))

    def _check(self, request: web.Request) -> None:
        """Refuse browsers and proxies: both ask for somebody who is not on this machine."""
        if request.headers.getall("Host", []) != [self._address]:
            # A page whose own name was made to mean this address (DNS rebinding) may read what comes back.
            raise Refused(f"the Host header must be {self._address}")
        if "Origin" in request.headers:
            raise Refused("web pages may not ask here")
        if forwarded := next((name for name in _FORWARDED if name in request.headers), None):
            # A server that can be made to fetch any address would do so for a stranger.
            raise Refused(f"forwarded requests are refused ({forwarded})")

    def _error(self, status: int, error: BrokerError) -> web.Response:
        return self._face.error(status, error.code, one_line(str(error)))

    def _foreign(self, request: web.Request, error: web.HTTPException) -> web.Response:
        """Give aiohttp's own errors (no such path, wrong method) the face's form."""
        if error.status >= 500:  # noqa: PLR2004
            return self._error(BrokerError.http_status, BrokerError(BUG))
        return self._error(error.status, BadRequest(f"{request.method} {request.path[:80]}: {error.reason}"))


async def caller(request: web.Request, wants: Kind) -> Caller:
    """Say in whose name a request of a face asks for a credential of this kind. Raises `Refused`."""
    consumer = await request.app[_CONSUMERS].of(_connection(request))
    return Caller(Peer(os.geteuid(), consumer.pids[0]), wants=wants, consumer=consumer)


def _connection(request: web.Request) -> socket.socket:
    connection: socket.socket | None = request.get_extra_info("socket")
    if connection is None:
        raise ConnectionResetError
    return connection
