"""A credential of a source that a person signs in to."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from broker.model import Issued
from broker.sources.oauth.person import want_of
from broker.sources.oauth.session import Session
from broker.sources.oauth.settings import OAuthSettings

ENDS: Final = "sign_in_ends"
"""The detail that says until when the sign-in lasts, where the provider tells."""


class SignedInFetcher:
    """Takes its token from the sign-in that it shares."""

    def __init__(self, session: Session, settings: OAuthSettings) -> None:
        self._session = session
        self._settings = settings
        self._want = want_of(settings)
        self._serial = 0

    @property
    def timeout_s(self) -> float:
        """As the sign-in's."""
        return self._session.refresh_token.timeout_s

    async def fetch(self) -> Issued:
        """Get another token than the last one."""
        shared = await self._session.token(self._want, self._serial)
        self._serial = shared.serial
        provider = self._session.provider
        ends_at = shared.answer.sign_in_ends_at
        ends = {} if ends_at is None else {ENDS: datetime.fromtimestamp(ends_at, UTC).isoformat(timespec="seconds")}
        return shared.answer.issued(self._settings, provider.settings.place, {**provider.details, **ends})

    def changed(self) -> bool:
        """Notice another secret of ours."""
        return self._session.refresh_token.proof.changed()
