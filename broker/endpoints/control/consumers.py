"""`POST /v1/consumers`: which variables let a program find a credential at one of the faces; never its secret."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from broker.endpoints.control.middleware import PEER, json_body
from broker.endpoints.faces import Faces
from broker.endpoints.loopback import Face
from broker.errors import BadRequest, BrokerError, DeadlineExceeded, Refused
from broker.service.admission import Caller
from broker.service.broker import Broker
from broker.service.consumer_tokens import ConsumerTokens

_READY_S: Final = 10.0
_FETCH_S: Final = 3.0
"""How long the credential's first fetch is waited for: SDKs wait a second, so it had better be in hand."""


class ConsumerCalls:
    """The call, for one broker and its faces."""

    def __init__(self, broker: Broker, faces: Faces, tokens: ConsumerTokens) -> None:
        self._broker = broker
        self._faces = faces
        self._tokens = tokens

    def routes(self) -> list[web.RouteDef]:
        """Name it."""
        return [web.post("/v1/consumers", self.make)]

    async def make(self, request: web.Request) -> web.Response:
        """Make a consumer. `lasting`: it goes on after a restart of the daemon; `problem`: what is wrong with the credential."""
        body = await json_body(request, frozenset({"credential"}))
        name = body.get("credential")
        if not isinstance(name, str):
            raise BadRequest("credential: expected a credential's name")
        await self._broker.safe.ready(_READY_S)
        self._broker.safe.check()
        self._check_no_pool(name)
        problem = await self._fetched(name, Caller(request[PEER], wants=self._broker.keeper(name).kind))
        face = self._face(name)
        found = face.variables(name, self._address(face))
        answer = {"set": dict(found.set), "unset": list(found.unset), "lasting": self._tokens.lasting}
        return web.json_response(answer | {"problem": problem}, headers={"Cache-Control": "no-store"})

    def _check_no_pool(self, name: str) -> None:
        """Raise `BadRequest` for one: its next token may be another identity's, and programs hold on to theirs."""
        if name in self._broker.pools:
            names = ", ".join(entry.config.name for entry in self._broker.pools.members(name))
            raise BadRequest(
                f"{name} is a pool, which no endpoint serves; run: broker exec {name} -- CMD, or: broker export {name};"
                f" its members are {names}"
            )

    async def _fetched(self, name: str, caller: Caller) -> dict[str, Any] | None:
        """Have it fetched where it never was; return what is wrong with it, which the consumer would not be told."""
        try:
            await self._broker.details(name, _FETCH_S, caller)
        except Refused:
            raise
        except (DeadlineExceeded, BadRequest):
            return None  # it is on its way, or another kind than its settings told
        except BrokerError as error:
            return {"code": error.code, "message": str(error)}
        return None

    def _face(self, name: str) -> Face:
        for face in self._faces.faces.values():
            if face.serves(name):
                return face
        raise BadRequest(
            f"{name} is of kind {self._broker.keeper(name).kind}, which no endpoint serves; see: broker exec --help, broker export --help"
        )

    def _address(self, face: Face) -> str:
        address = self._faces.addresses.get(face.name)
        if address is not None:
            return address
        if trouble := self._faces.trouble(face.name):
            raise BadRequest(trouble)
        lines = f'[endpoints.{face.name}] and below it listen = "127.0.0.1:0"'
        raise BadRequest(f"this endpoint is off; add to {self._broker.config.path} {lines}, then: broker restart")
