"""For clients without metadata support: an executable source's subject token, and its exchange for an access token.

Google's clients run a program of an external account's (`broker export NAME --format gcp-executable`) and exchange what
it prints at the account's `token_url`. At Google's STS that has to be a JWT of a trusted issuer: a credential that is
one is printed as it is. An access token can be no subject token there, so for one the program prints what a consumer
authorizes itself by (`ConsumerTokens`), and `token_url` is this daemon's own exchange: `broker setup gcp` writes such
a file.

Contracts: https://google.aip.dev/auth/4117 (executables), RFC 8693 (the exchange).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import parse_qsl

from aiohttp import web

from broker.endpoints.control.middleware import BODY_MAX_S, PEER, json_body
from broker.endpoints.gcp.accounts import Accounts
from broker.endpoints.gcp.look import UNENDING_S, text, wanted_life_s
from broker.endpoints.loopback import caller
from broker.errors import BadRequest, BrokerError, Refused
from broker.model import Kind
from broker.platform.interface import Peer
from broker.service.admission import Caller
from broker.service.broker import Broker
from broker.service.consumer_tokens import ConsumerTokens
from broker.sources.interface import Wish

PATH: Final = "/v1/token"

_DEADLINE_S: Final = 10.0
_BODY_MAX: Final = 16 * 1024
_PURPOSE: Final = "gcp-exchange"
"""What its tokens are for: those of another face open nothing here."""
_GRANT: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
_ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105  # the name of a type
_JWT: Final = "urn:ietf:params:oauth:token-type:jwt"
_FIELDS_MAX: Final = 32
_CODES: Final = {
    400: "invalid_request",
    401: "invalid_grant",
    403: "access_denied",
    404: "invalid_target",
    423: "access_denied",
}
"""Of our errors' statuses, the code in OAuth's words; what is missing here goes away by itself."""


class Exchange:
    """Gives subject tokens on the control socket, and access tokens for them on the face."""

    def __init__(self, broker: Broker, accounts: Accounts, tokens: ConsumerTokens) -> None:
        self._broker = broker
        self._accounts = accounts
        self._tokens = tokens

    async def subject_token(self, request: web.Request) -> web.Response:
        """`POST /v1/subject-token`: what an executable source prints, as JSON."""
        name = (await json_body(request, frozenset({"credential"}))).get("credential")
        if not isinstance(name, str):
            raise BadRequest("credential: expected a credential's name")
        return web.json_response(await self.printed(name, request[PEER]), headers={"Cache-Control": "no-store"})

    async def printed(self, name: str, peer: Peer) -> dict[str, Any]:
        """Make a subject token for who may have the credential. Raises what `Broker.token` raises."""
        kind = self._accounts.kind(name)
        asker = Caller(peer, wants=kind)
        ends = self._broker.clock.now().wall + UNENDING_S
        if name in self._accounts.credentials():
            await self._broker.details(name, _DEADLINE_S, asker)  # may it, and can it be had?
            subject = f"{name}.{self._tokens.issue(_PURPOSE, name).reveal()}"
        else:
            ttl_s = wanted_life_s(self._broker.keeper(name))
            served = await self._broker.token(name, ttl_s, _DEADLINE_S, asker, single=True)
            subject, ends = text(served), served.held.issued.expires_at or ends
        return {"version": 1, "success": True, "token_type": _JWT, "id_token": subject, "expiration_time": int(ends)}

    async def exchange(self, request: web.Request) -> web.Response:
        """`POST /v1/token` of the face: an access token for a subject token of ours."""
        try:
            return web.json_response(await self._exchanged(request))
        except BrokerError as error:
            return _oauth_error(error)

    async def _exchanged(self, request: web.Request) -> dict[str, Any]:
        form = await _form(request)
        if form.get("grant_type") != _GRANT or form.get("requested_token_type", _ACCESS_TOKEN) != _ACCESS_TOKEN:
            raise BadRequest("expected an exchange for an access token (RFC 8693)")
        await self._broker.safe.ready(_DEADLINE_S)
        self._broker.safe.check()  # before its key is read, no token can be told from another
        name, _, token = form.get("subject_token", "").rpartition(".")
        if not self._tokens.knows(_PURPOSE, name, token):
            raise Refused("this subject token is none, or no longer one, of this daemon's; run the executable again")
        asker = replace(await caller(request, Kind.ACCESS_TOKEN), wants=self._accounts.kind(name))
        scopes = tuple(form.get("scope", "").split())
        wish = Wish(scopes=scopes) if scopes and self._accounts.can_wish(name) else None
        ttl_s = wanted_life_s(self._broker.keeper(name))
        served = await self._broker.token(name, ttl_s, _DEADLINE_S, asker, wish, single=True)
        return {
            "access_token": text(served),
            "issued_token_type": _ACCESS_TOKEN,
            "token_type": "Bearer",
            "expires_in": UNENDING_S if served.expires_in_s is None else served.expires_in_s,
        }


async def _form(request: web.Request) -> Mapping[str, str]:
    if request.content_type != "application/x-www-form-urlencoded":
        raise BadRequest("expected a form (application/x-www-form-urlencoded)")
    try:
        async with asyncio.timeout(BODY_MAX_S):
            raw = await request.clone(client_max_size=_BODY_MAX).read()
        return dict(parse_qsl(raw.decode("ascii"), strict_parsing=True, max_num_fields=_FIELDS_MAX, errors="strict"))
    except TimeoutError as error:
        raise BadRequest("the request's body did not arrive in time") from error
    except ValueError as error:
        raise BadRequest("the request's body is no form") from error


def _oauth_error(error: BrokerError) -> web.Response:
    """Write an error as RFC 6749, 5.2 has it: clients show its description to their user, and ask again after 503."""
    body = {"error": _CODES.get(error.http_status, "temporarily_unavailable"), "error_description": str(error)}
    return web.json_response(body, status=400 if error.http_status in _CODES else 503)
