"""A `[sources.NAME]` of type `oauth`, and its credentials."""

from __future__ import annotations

from broker.errors import PermanentFetchError
from broker.sign_in import Invitation, SignIn
from broker.sources.interface import Context, Fetcher
from broker.sources.oauth.direct import DirectFetcher
from broker.sources.oauth.person import Person
from broker.sources.oauth.provider import Provider
from broker.sources.oauth.session import Session
from broker.sources.oauth.settings import BY_A_PERSON, OAuthSettings, OAuthSourceSettings
from broker.sources.oauth.signed import SignedInFetcher


class OAuthSource:
    """One client at one provider."""

    def __init__(self, settings: OAuthSourceSettings, context: Context) -> None:
        self.provider = Provider(settings)
        self._context = context
        self.session = Session(self.provider, context) if settings.flow in BY_A_PERSON else None
        self._person = Person(self.session) if self.session is not None else None

    def fetcher(self, settings: OAuthSettings, _credential: str) -> Fetcher:
        """Bind what to ask for."""
        if self.session is None or self._person is None:
            return DirectFetcher(self.provider, settings, self._context)
        self._person.wanted_by(settings)
        return SignedInFetcher(self.session, settings)

    @property
    def sign_in(self) -> SignIn | None:
        """How a person signs in: by `flow`."""
        return None if self._person is None else self._person.way

    async def begin_login(self, redirect_uri: str | None) -> Invitation:
        """Ask the provider where the person is to go."""
        return await self._who().begin(redirect_uri)

    async def finish_login(self, state: str, code: str | None) -> bool:
        """Take what the browser brought back, or ask whether the device code was confirmed."""
        return await self._who().finish(state, code)

    async def logout(self) -> bool:
        """Forget the sign-in, here and at the provider."""
        return await self._who().logout()

    async def close(self) -> None:
        """Let a refresh come to its end; connect anew if it is used again."""
        if self.session is not None:
            await self.session.close()
        self.provider.forget()

    def _who(self) -> Person:
        if self._person is None:
            raise PermanentFetchError("nobody signs in here: `flow` is neither device nor authorization-code")
        return self._person
