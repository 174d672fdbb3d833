"""What shows the provider that we are the client it knows."""

from __future__ import annotations

from broker.secret import Secret
from broker.sources import references
from broker.sources.interface import Context
from broker.sources.oauth.settings import OAuthSourceSettings


class Proof:
    """The client's secret or key, for one user: reading never overlaps."""

    def __init__(self, settings: OAuthSourceSettings, context: Context) -> None:
        given = {"client_secret": settings.client_secret, "private_key": settings.private_key}
        self._places = {name: references.bind(place, context) for name, place in given.items() if place is not None}

    async def read(self) -> dict[str, Secret]:
        """Read it as it is now. Raises `TransientFetchError`, `PermanentFetchError` or `LoginRequired`."""
        return {name: await place.resolve() for name, place in self._places.items()}

    def changed(self) -> bool:
        """Whether it is another one than `read` gave last. Called off the event loop."""
        return any(place.changed() for place in self._places.values())
