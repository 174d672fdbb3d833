"""The control socket's calls about what is kept here: lock, unlock, and the stored secrets by name, never a value."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from broker.endpoints.control.middleware import PEER, json_body
from broker.errors import BadRequest
from broker.secret import Secret
from broker.service.admission import Caller
from broker.service.broker import Broker
from broker.service.events import Who

_PASSPHRASE_MAX: Final = 1024


class SafeCalls:
    """The calls, for one broker."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def routes(self) -> list[web.RouteDef]:
        """Name them."""
        return [
            web.post("/v1/lock", self.lock),
            web.post("/v1/unlock", self.unlock),
            web.get("/v1/secrets", self.names),
            web.put("/v1/secrets/{name}", self.put),
            web.delete("/v1/secrets/{name}", self.delete),
        ]

    async def lock(self, _request: web.Request) -> web.Response:
        """`POST /v1/lock`: drop every secret from memory."""
        await self._broker.safe.lock("somebody asked for it")
        return self._condition()

    async def unlock(self, request: web.Request) -> web.Response:
        """`POST /v1/unlock`: serve again; with a passphrase where that is the key."""
        body = await json_body(request, frozenset({"passphrase"})) if request.can_read_body else {}
        passphrase = body.get("passphrase")
        if passphrase is not None and not (isinstance(passphrase, str) and 0 < len(passphrase) <= _PASSPHRASE_MAX):
            raise BadRequest(f"passphrase: expected text of 1 to {_PASSPHRASE_MAX} characters")
        await self._broker.safe.unlock(None if passphrase is None else Secret(passphrase))
        return self._condition()

    async def names(self, _request: web.Request) -> web.Response:
        """`GET /v1/secrets`: what is stored, by name."""
        return web.json_response({"secrets": self._broker.secrets.names()})

    async def put(self, request: web.Request) -> web.Response:
        """`PUT /v1/secrets/NAME`: store one for good; whoever asks from now on gets it."""
        body = await json_body(request, frozenset({"value"}))
        if not isinstance(body.get("value"), str):
            raise BadRequest("value: expected the secret as text")
        name = request.match_info["name"]
        await self._broker.secrets.put(name, Secret(body["value"]), self._who(request))
        return web.json_response({"secret": name})

    async def delete(self, request: web.Request) -> web.Response:
        """`DELETE /v1/secrets/NAME`: remove one for good."""
        name = request.match_info["name"]
        deleted = await self._broker.secrets.delete(name, self._who(request))
        return web.json_response({"secret": name, "deleted": deleted})

    def _who(self, request: web.Request) -> Who:
        return self._broker.admission.who(Caller(request[PEER]))

    def _condition(self) -> web.Response:
        safe = self._broker.safe
        return web.json_response({"locked": safe.locked, "persist": safe.store.persist})
