"""What a sign-in at IAM Identity Center gives, in the form in which the AWS CLI keeps it (botocore, `tokens.py`)."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from broker.secret import Secret, flaw
from broker.sources.aws.sso.settings import place

SIGN_IN: Final = "sign in"
REFRESH: Final = "refresh the sign-in"
"""What asking for a token is called: the same refusal means something else in either."""

REFRESH_S: Final = 15 * 60.0
"""A token is refreshed when less is left, as botocore does."""
_LATEST: Final = 1e11
"""The year 5138: Python's clock ends in 9999."""
_FORM: Final = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True)
class Registration:
    """Who we are to the Identity Center: a public client, made up at each sign-in."""

    client_id: str
    client_secret: Secret
    expires_at: float


@dataclass(frozen=True, slots=True)
class SsoToken:
    """An access token, and what gets the next one. Moments are epoch seconds, by this machine's clock."""

    access_token: Secret
    expires_at: float
    refresh_token: Secret | None = None
    registration: Registration | None = None

    @property
    def left_s(self) -> float:
        """How long it lives."""
        return self.expires_at - time.time()

    @property
    def can_refresh(self) -> bool:
        """Whether another one can be had without a person."""
        known = self.registration
        return self.refresh_token is not None and known is not None and known.expires_at > time.time()

    def document(self, start_url: str, region: str) -> dict[str, str]:
        """Write it down as the AWS CLI does."""
        written = {
            "startUrl": start_url,
            "region": region,
            "accessToken": self.access_token.reveal(),
            "expiresAt": _written(self.expires_at),
        }
        if self.registration is not None:
            written["clientId"] = self.registration.client_id
            written["clientSecret"] = self.registration.client_secret.reveal()
            written["registrationExpiresAt"] = _written(self.registration.expires_at)
        if self.refresh_token is not None:
            written["refreshToken"] = self.refresh_token.reveal()
        return written

    @classmethod
    def of(cls, written: object, start_url: str, region: str) -> SsoToken | None:
        """Read what `document`, or the AWS CLI, has written; None where it is nothing of the kind, or another place's.

        A token goes to no other place than it came from, whoever points the config or the file's name elsewhere.
        """
        if not isinstance(written, dict):
            return None
        written_at = place(str(written.get("startUrl", start_url)), str(written.get("region", region)))
        access, expires_at = _secret(written, "accessToken"), _read(written.get("expiresAt"))
        if written_at != place(start_url, region) or access is None or expires_at is None:
            return None
        return cls(access, expires_at, _secret(written, "refreshToken"), _registration(written))

    @classmethod
    def read(cls, text: str, start_url: str, region: str) -> SsoToken | None:
        """Read the text of such a document."""
        try:
            return cls.of(json.loads(text), start_url, region)
        except (ValueError, RecursionError):
            return None


def _registration(written: Mapping[str, Any]) -> Registration | None:
    client_id, secret = written.get("clientId"), _secret(written, "clientSecret")
    expires_at = _read(written.get("registrationExpiresAt"))
    if not isinstance(client_id, str) or secret is None or expires_at is None:
        return None
    return Registration(client_id, secret, expires_at)


def _secret(written: Mapping[str, Any], name: str) -> Secret | None:
    text = written.get(name)
    return Secret(text) if isinstance(text, str) and flaw(text) is None else None


def _written(moment: float) -> str:
    return datetime.fromtimestamp(min(moment, _LATEST), UTC).strftime(_FORM)


def _read(text: object) -> float | None:
    """Read a moment; the AWS CLI of other times and botocore differ in how they write the time zone."""
    try:
        moment = datetime.fromisoformat(str(text).removesuffix("UTC") + ("Z" if str(text).endswith("UTC") else ""))
        return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError):
        return None
