"""A fake provider, and sources at it that act for themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from tests.fakes.oauth import FakeProvider, fake_provider
from tests.sources.oauth.place import Client, opening

Sources = Callable[..., Client]


@pytest.fixture
def idp() -> Iterator[FakeProvider]:
    """Give a provider."""
    with fake_provider() as idp:
        yield idp


@pytest.fixture
async def sources(idp: FakeProvider) -> AsyncIterator[Sources]:
    """Give `sources(key=...)`, which sets up a source at it."""
    async with opening(idp, Client) as sources:
        yield sources
