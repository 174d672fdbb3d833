"""What every request of every face goes through: who asks, how errors are told, how long a body may take."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web

from broker.endpoints.answers import BUG, Answer, of_error
from broker.endpoints.connections import Connections
from broker.errors import BadRequest, BrokerError, Refused
from broker.platform.interface import Peer, Platform

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

CONNECTIONS: Final = web.AppKey("connections", list[Connections])
"""The one `Connections`, in a list since it is made after the application is frozen."""
PLATFORM: Final = web.AppKey("platform", Platform)
PEER: Final = web.RequestKey("peer", Peer)
STRANGER: Final = web.AppKey[Callable[[Peer], None]]("stranger")
"""Notes who of another user's tried to get in."""

BODY_MAX: Final = 64 * 1024
BODY_MAX_S: Final = 5.0
"""A client that sends its body byte by byte is cut off after this long."""


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let only the daemon's own user in, keep count of what is under way, and turn errors into answers."""
    connections = request.app[CONNECTIONS][0]
    protocol = request.protocol
    connections.began(protocol)
    try:
        response = await _answer(request, handler)
        if connections.draining:
            response.force_close()
        return response
    finally:
        connections.ended(protocol, stays_open=request.keep_alive)


async def json_body(request: web.Request, allowed: frozenset[str]) -> dict[str, Any]:
    """Read a small JSON object with no other keys than `allowed`. Raises `BadRequest`."""
    try:
        async with asyncio.timeout(BODY_MAX_S):
            raw = await request.read()
        body = json.loads(raw)
    except TimeoutError as error:
        raise BadRequest("the request's body did not arrive in time") from error
    except (ValueError, RecursionError) as error:
        raise BadRequest("the request's body must be JSON") from error
    if not isinstance(body, dict):
        raise BadRequest("the request's body must be a JSON object")
    if unknown := sorted(set(body) - allowed):
        raise BadRequest(f"unknown key {unknown[0]!r:.40} in the body; expected {', '.join(sorted(allowed))}")
    return body


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        connection = request.get_extra_info("socket")
        if connection is None:
            raise ConnectionResetError  # noqa: TRY301  # as below
        request[PEER] = own_peer(request.app, connection)
        return await handler(request)
    except BrokerError as error:
        return _error(request, error)
    except web.HTTPException as error:
        return _foreign_error(request, error)
    except ConnectionError:
        raise  # the client left; there is nobody to tell
    except Exception:  # noqa: BLE001  # the last line of defence: a bug is told by its code alone, details may be secret
        log.error("a bug while answering %s %s", request.method, request.path)  # noqa: TRY400  # as above
        return _error(request, BrokerError(BUG))


def own_peer(app: web.Application, connection: socket.socket) -> Peer:
    """Name who connected. Raises `Refused` for another user, `ConnectionResetError` where the connection is gone."""
    try:
        peer = app[PLATFORM].peer(connection)
    except OSError as error:
        raise ConnectionResetError from error
    if peer.uid != os.geteuid():
        # Another user, root too, that got past the folder's and the socket's modes.
        app[STRANGER](peer)
        raise Refused(f"this daemon serves uid {os.geteuid()} only; start one of your own")
    return peer


def _foreign_error(request: web.Request, error: web.HTTPException) -> web.StreamResponse:
    """Give aiohttp's own errors (no such path, wrong method, body too large) our form, and their status."""
    if error.status >= 500:  # noqa: PLR2004
        return _error(request, BrokerError(BUG))
    return _error(request, BadRequest(f"{request.method} {request.path[:80]}: {error.reason}"), error.status)


def _error(request: web.Request, error: BrokerError, status: int | None = None) -> web.Response:
    return response(of_error(error, status=status, as_json="application/json" in request.headers.get("Accept", "")))


def response(answer: Answer) -> web.Response:
    """Have aiohttp write an answer."""
    return web.Response(status=answer.status, headers=answer.headers, body=answer.body)
