"""How a person signs in to a source: what the source can do, and what it asks of the person. Imports nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

EXPIRES_IN_S: Final = 300.0
"""How long a person may take where the provider does not say: Vault forgets a sign-in after five minutes."""
INTERVAL_S: Final = 5.0
"""How often to ask whether a device code was confirmed, where the provider does not say (RFC 8628, 3.2)."""


@dataclass(frozen=True, slots=True)
class Page:
    """The page of this machine that the browser comes back to. What listens is 127.0.0.1 in any case.

    `host`: what stands in the address, `127.0.0.1` or `localhost`: providers compare it. `port` 0: any free one, which
    providers are to allow (RFC 8252, 7.3); a port that is taken is replaced by a free one too.
    """

    host: str = "127.0.0.1"
    port: int = 0
    path: str = "/"


@dataclass(frozen=True, slots=True)
class SignIn:
    """The ways that a source's settings leave: a browser that comes back to `page`, a `device` code, or either."""

    page: Page | None = None
    device: bool = False


@dataclass(frozen=True, slots=True)
class Invitation:
    """Where a person signs in, and how long that is good for. `state` names the sign-in, and tells its answer from others'.

    With a device code: `user_code` is what the person types at `url`, or compares at `complete_url`, which has it filled
    in; whether it was confirmed is asked every `interval_s`. `issuer`: what the browser's answer must name as its origin
    (RFC 9207), from a provider that says that its answers do.
    """

    url: str
    state: str
    expires_in_s: float = EXPIRES_IN_S
    user_code: str | None = None
    complete_url: str | None = None
    interval_s: float = INTERVAL_S
    issuer: str | None = None
