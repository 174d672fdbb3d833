"""An `oauth` source at the fake provider, for the tests of one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from broker.secret import Secret
from broker.sources.interface import Fetcher
from broker.sources.oauth.settings import OAuthSettings, OAuthSourceSettings
from broker.sources.oauth.source import OAuthSource
from broker.sources.references import Reference
from tests.fakes.context import FakeContext
from tests.fakes.oauth import FakeProvider

SECRET = "fake-client-secret with/odd+chars%"
STORED = Reference(local="client-secret")


class Place:
    """A source, opened by one daemon after the other with the same store; and its fetchers."""

    def __init__(self, idp: FakeProvider, **settings: Any) -> None:  # noqa: ANN401  # any setting
        self.idp = idp
        self.context = FakeContext()
        self.settings = settings
        self.opened: list[OAuthSource] = []
        self.restart()

    def restart(self, **settings: Any) -> None:  # noqa: ANN401  # any setting
        """Open it as the next daemon does."""
        self.source = OAuthSource(OAuthSourceSettings(**{**self.settings, **settings}), self.context)
        self.opened.append(self.source)

    def fetcher(self, **settings: Any) -> Fetcher:  # noqa: ANN401  # any setting
        """Bind one credential."""
        return self.source.fetcher(OAuthSettings(**settings), "work")


class Client(Place):
    """One that acts for itself, with a stored secret; others' tokens are stored as `subject`."""

    def __init__(self, idp: FakeProvider, **settings: Any) -> None:  # noqa: ANN401  # any setting
        wanted = {"flow": "client-credentials", "client_id": "me", "client_secret": STORED}
        if "issuer" not in settings:
            wanted["token_url"] = f"{idp.address}/token"
        super().__init__(idp, **{**wanted, **settings})
        self.context.secrets.records |= {"client-secret": Secret(SECRET), "subject": Secret("fake-subject-1")}


Some = TypeVar("Some", bound=Place)


@asynccontextmanager
async def opening(idp: FakeProvider, place: type[Some]) -> AsyncIterator[Callable[..., Some]]:
    """Give `sources(key=...)`, which sets up a source at the provider; close them all at the end."""
    made: list[Some] = []

    def sources(**settings: Any) -> Some:  # noqa: ANN401  # any setting
        made.append(place(idp, **settings))
        return made[-1]

    yield sources
    idp.gate.set()
    for one in made:
        for source in one.opened:
            await source.close()
