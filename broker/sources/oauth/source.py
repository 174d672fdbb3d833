"""A `[sources.NAME]` of type `oauth`, and its credentials."""

from __future__ import annotations

from broker.sources.interface import Context, Fetcher
from broker.sources.oauth.direct import DirectFetcher
from broker.sources.oauth.provider import Provider
from broker.sources.oauth.settings import OAuthSettings, OAuthSourceSettings


class OAuthSource:
    """One client at one provider."""

    def __init__(self, settings: OAuthSourceSettings, context: Context) -> None:
        self.provider = Provider(settings)
        self._context = context

    def fetcher(self, settings: OAuthSettings, _credential: str) -> Fetcher:
        """Bind what to ask for."""
        return DirectFetcher(self.provider, settings, self._context)

    async def close(self) -> None:
        """Connect anew if it is used again."""
        self.provider.forget()
