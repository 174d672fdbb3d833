"""The control socket's calls about a person's sign-in: begin, wait, finish, and out again; never the token it gives."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any, Final

from aiohttp import web

from broker.endpoints.control.middleware import PEER, json_body
from broker.errors import BadRequest
from broker.service.admission import Caller
from broker.service.broker import Broker
from broker.service.events import Who

_TEXT_MAX: Final = 16 * 1024
# The answer is as good as the sign-in itself: it goes to a page of this machine and nowhere else.
_REDIRECT: Final = re.compile(r"http://(localhost|127\.0\.0\.1):[1-9][0-9]{0,4}/[A-Za-z0-9_/-]{0,100}", re.ASCII)


class LoginCalls:
    """The calls, for one broker."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def routes(self) -> list[web.RouteDef]:
        """Name them."""
        return [
            web.get("/v1/logins", self.ways),
            web.post("/v1/login", self.begin),
            web.post("/v1/login/wait", self.wait),
            web.post("/v1/login/finish", self.finish),
            web.post("/v1/logout", self.logout),
        ]

    async def ways(self, _request: web.Request) -> web.Response:
        """`GET /v1/logins`: the sources that a person signs in to; `page` and `device` say how."""
        sources = [
            {"name": config.name, "type": config.type.name, **asdict(way)} for config, way in self._broker.logins.ways()
        ]
        return _private({"sources": sources})

    async def begin(self, request: web.Request) -> web.Response:
        """`POST /v1/login`: where the person is to go, and the `state` that names this sign-in.

        With a `redirect_uri` by a browser that comes back to it, without by a device code. `joined`: somebody had begun
        it before.
        """
        body = await json_body(request, frozenset({"source", "redirect_uri"}))
        redirect_uri = _text(body, "redirect_uri") if "redirect_uri" in body else None
        if redirect_uri is not None and not _REDIRECT.fullmatch(redirect_uri):
            raise BadRequest("redirect_uri: expected a page of this machine, such as http://localhost:8250/callback")
        begun = await self._broker.logins.begin(_text(body, "source"), redirect_uri, self._who(request))
        told = {name: value for name, value in asdict(begun.invitation).items() if value is not None}
        return _private({**told, "joined": begun.joined})

    async def wait(self, request: web.Request) -> web.Response:
        """`POST /v1/login/wait`: answers when the sign-in has ended; `kept`: whether it outlasts the daemon.

        Who hangs up waits no longer; a device code is asked about for as long as anybody waits.
        """
        body = await json_body(request, frozenset({"source", "state"}))
        return _private({"kept": await self._broker.logins.wait(_text(body, "source"), _text(body, "state"))})

    async def finish(self, request: web.Request) -> web.Response:
        """`POST /v1/login/finish`: what the browser brought back; `kept`: whether it outlasts the daemon."""
        body = await json_body(request, frozenset({"source", "state", "code"}))
        source, state, code = (_text(body, name) for name in ("source", "state", "code"))
        return _private({"kept": await self._broker.logins.finish(source, state, code, self._who(request))})

    async def logout(self, request: web.Request) -> web.Response:
        """`POST /v1/logout`: give it back; `signed_out`: whether there was anything."""
        source = _text(await json_body(request, frozenset({"source"})), "source")
        return _private({"signed_out": await self._broker.logins.logout(source, self._who(request))})

    def _who(self, request: web.Request) -> Who:
        return self._broker.admission.who(Caller(request[PEER]))


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not (isinstance(value, str) and 0 < len(value) <= _TEXT_MAX and value.isascii() and value.isprintable()):
        raise BadRequest(f"{name}: expected printable text")
    return value


def _private(body: dict[str, Any]) -> web.Response:
    return web.json_response(body, headers={"Cache-Control": "no-store"})
