"""The container-credentials endpoint of AWS's SDKs, `GET /v1/aws/NAME`, and what `broker-helper --aws` prints.

The contract is that of the SDKs (AWS SDKs and Tools Reference, "Container credential provider" and "Process credential
provider"). JavaScript's waits a second and tries four times, botocore two seconds and three times, both with a pause of
a second, whatever was wrong. So an answer comes within a second, also where the session is still being fetched: that
goes on meanwhile, and the next try finds it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from aiohttp import web

from broker.endpoints.loopback import Variables, caller
from broker.engine.advice import room_s
from broker.engine.callers import ENDLESS_S
from broker.errors import Refused, SourceFailed
from broker.model import Kind
from broker.secret import MAX_LENGTH
from broker.service import report
from broker.service.admission import Caller
from broker.service.broker import Broker, Served
from broker.service.consumer_tokens import ConsumerTokens
from broker.service.keeper import Keeper

DEADLINE_S: Final = 0.8

REMAINING_S: Final = 1200.0
"""So much life is left when handed out. botocore asks at every signing below 15 min, JavaScript's SDK below 5."""

_UNSET: Final = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_CREDENTIAL_EXPIRATION",
    "AWS_CREDENTIAL_SCOPE",
    "AWS_ACCOUNT_ID",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_BEARER_TOKEN_BEDROCK",
)
"""What wins over the endpoint, or belongs to others than its keys, in botocore's chain or in the JavaScript SDK's."""


class AwsFace:
    """The face `[endpoints.aws]`."""

    name: Final = "aws"

    def __init__(self, broker: Broker, tokens: ConsumerTokens) -> None:
        self._broker = broker
        self._tokens = tokens

    def serves(self, credential: str) -> bool:
        """Whether it is a session."""
        return self._broker.keeper(credential).kind is Kind.AWS_SESSION

    def routes(self) -> Sequence[web.RouteDef]:
        """Name its calls."""
        return [web.get("/v1/aws/{name}", self.credentials)]

    async def credentials(self, request: web.Request) -> web.Response:
        """Give a session's keys to a consumer who shows its token."""
        name = request.match_info["name"]
        await self._broker.safe.ready(DEADLINE_S)
        self._broker.safe.check()  # before its key is read, no token can be told from another
        if not self._tokens.knows(self.name, name, request.headers.get("Authorization", "")):
            raise Refused(
                f"the authorization token is none of this daemon's for {name[:64]}; run: broker env {name[:64]}"
            )
        served = await session(self._broker, name, DEADLINE_S, await caller(request, Kind.AWS_SESSION))
        return web.json_response(_document(served, self._broker, "Token"))

    def error(self, status: int, code: str, message: str) -> web.Response:
        """Write an error; JavaScript's SDK reads the capital names, the others the small ones."""
        body = {"code": code, "message": message, "Code": code, "Message": message}
        return web.json_response(body, status=status)

    def variables(self, credential: str, address: str) -> Variables:
        """Say how both SDKs find a credential here."""
        found = {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://{address}/v1/aws/{credential}",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": self._tokens.issue(self.name, credential).reveal(),
        }
        held = self._broker.keeper(credential).life.held
        if held is not None and (region := held.issued.details.get("region")):
            found["AWS_REGION"] = found["AWS_DEFAULT_REGION"] = region
        return Variables(found, _UNSET)


async def session(broker: Broker, name: str | None, deadline_s: float, asker: Caller) -> Served:
    """Ask for an AWS session with as much life as an SDK wants, or as this one's length allows."""
    return await broker.token(name, _ttl_s(broker.keeper(name)), deadline_s, asker)


def process_document(served: Served, broker: Broker) -> str:
    """Write what a `credential_process` prints, without any blank: the helper copies it, and takes it for one word.

    Raises `SourceFailed` where that would be longer than the helper takes.
    """
    text = json.dumps({"Version": 1} | _document(served, broker, "SessionToken"), separators=(",", ":"))
    if len(text) > MAX_LENGTH:
        raise SourceFailed(f"{served.credential}: the session's keys are longer than {MAX_LENGTH} characters in all")
    return text


def _document(served: Served, broker: Broker, token: str) -> dict[str, str]:
    issued = served.held.issued
    secret = {name: part.reveal() for name, part in issued.parts.items()}
    expires_at = issued.expires_at if issued.expires_at is not None else broker.clock.now().wall + ENDLESS_S
    found = {
        "AccessKeyId": secret["access_key_id"],
        "SecretAccessKey": secret["secret_access_key"],
        token: secret.get("session_token", ""),
        "Expiration": report.timestamp(expires_at) or "",
    }
    account = issued.details.get("account_id")
    return found | ({"AccountId": account} if account else {})


def _ttl_s(keeper: Keeper) -> float:
    """Return what to ask for: so that a merely short session is renewed at half its life, and nobody is warned."""
    held = keeper.life.held
    if held is None:
        return 0.0  # fetched anew it has its whole life
    wanted_s = REMAINING_S if room_s(held.lifetime_s) >= REMAINING_S else held.lifetime_s / 2
    return max(0.0, wanted_s - keeper.life.timing.min_validity_s)
