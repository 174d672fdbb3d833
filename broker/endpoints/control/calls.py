"""The control socket's calls: bytes to calls and back, and no policy."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

from aiohttp import web

from broker.endpoints.control import surroundings, tokens
from broker.endpoints.control.login import LoginCalls
from broker.endpoints.control.middleware import (
    BODY_MAX,
    CONNECTIONS,
    PEER,
    PLATFORM,
    STRANGER,
    guard,
    json_body,
    response,
)
from broker.endpoints.control.safe import SafeCalls
from broker.endpoints.control.tokens import DEADLINE_MAX_S, DEFAULT_DEADLINE_S
from broker.errors import BadRequest
from broker.model import DEFAULT_TTL_S, Kind
from broker.platform.interface import Platform
from broker.service import report
from broker.service.admission import Caller
from broker.service.broker import Broker

BROKER: Final = web.AppKey("broker", Broker)
DAEMON: Final = web.AppKey[Callable[[], dict[str, Any]]]("daemon")
"""Describes the daemon itself, for `status`."""

_DIGITS_MAX: Final = 18


def create_app(broker: Broker, platform: Platform, describe: Callable[[], dict[str, Any]]) -> web.Application:
    """Wire the calls to `broker`."""
    app = web.Application(middlewares=[guard], client_max_size=BODY_MAX)
    app[BROKER] = broker
    app[PLATFORM] = platform
    app[STRANGER] = broker.admission.turned_away
    app[DAEMON] = describe
    app[CONNECTIONS] = []
    app.router.add_get("/v1/token", token)
    app.router.add_get("/v1/credentials/{name}", credential)
    app.router.add_get("/v1/aws", aws)
    app.router.add_get("/v1/status", status)
    app.router.add_post("/v1/refresh", refresh)
    app.router.add_post("/v1/rejected", rejected)
    app.router.add_routes(SafeCalls(broker).routes())
    app.router.add_routes(LoginCalls(broker).routes())
    app.router.add_get("/v1/events", events, allow_head=False)  # its answer has no end
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/healthz", healthz)
    return app


async def token(request: web.Request) -> web.Response:
    """`GET /v1/token`: the token alone."""
    name, ttl_s = request.query.get("credential") or None, _milliseconds(request, "ttl_ms", DEFAULT_TTL_S)
    return response(await tokens.token(request.app[BROKER], name, ttl_s, _deadline_s(request), _caller(request)))


async def credential(request: web.Request) -> web.Response:
    """`GET /v1/credentials/NAME`: every part of the credential, as JSON."""
    ttl_s = _milliseconds(request, "ttl_ms", DEFAULT_TTL_S)
    name = request.match_info["name"]
    served = await request.app[BROKER].token(name or None, ttl_s, _deadline_s(request), _caller(request))
    held = served.held
    body = {
        "credential": served.credential,
        "kind": str(held.issued.kind),
        "issued_at": report.timestamp(held.received.wall),
        "expires_at": report.timestamp(held.issued.expires_at),
        **held.issued.details,
        **{name: secret.reveal() for name, secret in held.issued.parts.items()},
    }
    return web.json_response(body, headers={"Cache-Control": "no-store"})


async def aws(request: web.Request) -> web.Response:
    """`GET /v1/aws`: what a `credential_process` is to print, word for word."""
    name, caller = request.query.get("credential") or None, _caller(request, Kind.AWS_SESSION)
    return response(await tokens.aws_keys(request.app[BROKER], name, _deadline_s(request), caller))


async def status(request: web.Request) -> web.Response:
    """`GET /v1/status`."""
    broker = request.app[BROKER]
    await broker.safe.opened()
    return web.json_response({"daemon": request.app[DAEMON](), "credentials": broker.report()})


async def refresh(request: web.Request) -> web.Response:
    """`POST /v1/refresh`: force one, and answer with what came of it; `damped_s` where it is too soon for one."""
    name = _name(request, await json_body(request, frozenset({"credential"})))
    await request.app[BROKER].safe.retry()
    damped_s = await request.app[BROKER].pools.refresh(name)
    return _status_of(request, name, **({"damped_s": math.ceil(damped_s)} if damped_s else {}))


async def rejected(request: web.Request) -> web.Response:
    """`POST /v1/rejected`: upstream refused (401, 403) or limited (429) a token."""
    body = await json_body(request, frozenset({"credential", "fingerprint", "status", "retry_after_s"}))
    name = _name(request, body)
    pools = request.app[BROKER].pools
    fingerprint = body.get("fingerprint")
    if not isinstance(fingerprint, str):
        raise BadRequest("fingerprint: expected the token's fingerprint, as X-Broker-Fingerprint gave it")
    match body.get("status"):
        case 401 | 403 as answered:
            who = request.app[BROKER].admission.who(Caller(request[PEER]))
            pools.refused(name, fingerprint, f"reported: {answered}", who)
        case 429:
            pools.limited(name, fingerprint, _seconds(body.get("retry_after_s", 0)))
        case _:
            raise BadRequest("status: expected 401, 403 or 429")
    return _status_of(request, name)


async def events(request: web.Request) -> web.StreamResponse:
    """`GET /v1/events`: what happens, as server-sent events, until the client or the daemon leaves."""
    stream = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    stream.force_close()  # after the stream there is nothing to wait for
    with request.app[BROKER].bus.listen() as queue:
        await stream.prepare(request)
        await stream.write(b": listening\n\n")
        while (event := await queue.get()) is not None:
            data = {name: value for name, value in asdict(event).items() if name != "name" and value is not None}
            await stream.write(f"event: {event.name}\ndata: {json.dumps(data)}\n\n".encode())
    return stream


async def metrics(request: web.Request) -> web.Response:
    """`GET /metrics`: Prometheus text."""
    from broker.endpoints.control.metrics import exposition  # noqa: PLC0415  # loaded when first scraped

    body, content_type = exposition(request.app[BROKER].report())
    return web.Response(body=body, headers={"Content-Type": content_type})


async def healthz(_request: web.Request) -> web.Response:
    """`GET /healthz`: 200 while serving."""
    return web.Response(text="ok\n")


def _caller(request: web.Request, wants: Kind | None = None) -> Caller:
    return Caller(request[PEER], surroundings.told(request.headers), wants)


def _deadline_s(request: web.Request) -> float:
    return min(_milliseconds(request, "deadline_ms", DEFAULT_DEADLINE_S), DEADLINE_MAX_S)


def _milliseconds(request: web.Request, name: str, default_s: float) -> float:
    text = request.query.get(name)
    if text is None:
        return default_s
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX):
        raise BadRequest(f"{name}: expected a whole number of milliseconds, 0 or more")
    return int(text) / 1000


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1e9:  # noqa: PLR2004
        raise BadRequest("retry_after_s: expected a number of seconds, 0 or more")
    return float(value)


def _name(request: web.Request, body: dict[str, Any]) -> str:
    name = body.get("credential")
    if name is not None and not isinstance(name, str):
        raise BadRequest("credential: expected a credential's name")
    return request.app[BROKER].name(name)


def _status_of(request: web.Request, name: str, **more: int) -> web.Response:
    return web.json_response(request.app[BROKER].describe(name) | more)
