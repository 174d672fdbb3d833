"""What is kept of a person's sign-in: the refresh token, and whether it is being spent just now. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from broker.secret import Secret, flaw_of_text
from broker.sources.oauth.settings import OAuthSourceSettings

_ENDED_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class Kept:
    """One sign-in. `scope`: what the person was asked to agree to.

    `flight`: the key that the answer to a refresh is sealed with, which was begun and whose outcome nobody has taken in
    yet: the refresh token may be spent. `ended`: why the provider takes it no longer; then there is no refresh token.
    """

    refresh_token: Secret | None
    scope: str = ""
    flight: Secret | None = None
    ended: str | None = None

    def record(self, settings: OAuthSourceSettings) -> Secret:
        """Write it down, with the place where it is good."""
        token = None if self.refresh_token is None else self.refresh_token.reveal()
        flight = None if self.flight is None else self.flight.reveal()
        fields = {"refresh_token": token, "scope": self.scope, "flight": flight, "ended": self.ended}
        return Secret(json.dumps({**_place(settings), **fields}))

    @classmethod
    def read(cls, record: Secret, settings: OAuthSourceSettings) -> Kept | None:
        """Read what `record` wrote; None where it is broken, or good at another place."""
        found = _fields(record)
        # A changed issuer must not have the refresh token sent to another server.
        if _place(settings).items() - found.items():
            return None
        token, flight = _secret(found.get("refresh_token")), _secret(found.get("flight"))
        scope, ended = found.get("scope"), found.get("ended")
        ended = ended[:_ENDED_MAX] if isinstance(ended, str) and ended.isprintable() else None
        if token is None and ended is None:
            return None
        return cls(token, scope if isinstance(scope, str) else "", flight, ended)


@dataclass(frozen=True, slots=True)
class Former:
    """A sign-in from before the settings were changed: as which client, and at which provider.

    `here`: that is still the settings' provider.
    """

    client_id: str
    provider: str
    here: bool
    refresh_token: Secret

    @classmethod
    def read(cls, record: Secret, settings: OAuthSourceSettings) -> Former | None:
        """Read what `Kept.record` wrote; None where it is broken, or good with the present settings."""
        found, place = _fields(record), _place(settings)
        client_id, token = found.get("client_id"), _secret(found.get("refresh_token"))
        if token is None or not isinstance(client_id, str) or not place.items() - found.items():
            return None
        provider = str(found.get("issuer") or found.get("token_url"))
        here = all(found.get(name) == place[name] for name in ("issuer", "token_url"))
        return cls(client_id, provider, here, token)


def _fields(record: Secret) -> dict[str, Any]:
    try:
        found = json.loads(record.reveal())
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _place(settings: OAuthSourceSettings) -> dict[str, str | None]:
    return {"issuer": settings.issuer, "token_url": settings.token_url, "client_id": settings.client_id}


def _secret(text: object) -> Secret | None:
    return Secret(text) if isinstance(text, str) and flaw_of_text(text) is None else None
