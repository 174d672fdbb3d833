"""A credential of a source that a person signs in to."""

from __future__ import annotations

from broker.model import Issued
from broker.sources.oauth.person import want_of
from broker.sources.oauth.session import Session
from broker.sources.oauth.settings import OAuthSettings


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
        return shared.answer.issued(self._settings, provider.settings.place, provider.details)

    def changed(self) -> bool:
        """Notice another secret of ours."""
        return self._session.refresh_token.proof.changed()
