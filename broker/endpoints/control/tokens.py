"""What a helper is given: `/v1/token` and `/v1/aws`, by whichever way it was asked."""

from __future__ import annotations

from typing import Final

from broker.endpoints.answers import JSON, TEXT, Answer, private
from broker.endpoints.aws import process_document, session
from broker.model import TOKEN
from broker.service.admission import Caller
from broker.service.broker import Broker

DEFAULT_DEADLINE_S: Final = 10.0
DEADLINE_MAX_S: Final = 600.0


async def token(broker: Broker, name: str | None, ttl_s: float, deadline_s: float, caller: Caller) -> Answer:
    """Answer with the token alone. Raises what `Broker.token` raises."""
    served = await broker.token(name, ttl_s, deadline_s, caller, single=True)
    headers = {"X-Broker-Credential": served.credential, "X-Broker-Fingerprint": served.fingerprint}
    if served.expires_in_s is not None:
        headers["X-Broker-Expires-In"] = str(served.expires_in_s)
    return private(served.held.issued.parts[TOKEN].reveal(), TEXT, headers)


async def aws_keys(broker: Broker, name: str | None, deadline_s: float, caller: Caller) -> Answer:
    """Answer with what a `credential_process` is to print, word for word. Raises what `session` raises."""
    served = await session(broker, name, deadline_s, caller)
    return private(process_document(served, broker), JSON, {})
