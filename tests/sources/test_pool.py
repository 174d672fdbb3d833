"""The `pool` source where there is no daemon: whoever has a token gives it."""

from __future__ import annotations

import pytest

from broker.errors import LoginRequired, PermanentFetchError, TransientFetchError
from broker.secret import Secret
from broker.sources.interface import Fetcher, NoSettings
from broker.sources.pool import PoolSettings, PoolSource
from tests.contracts.source_contract import OTHER, VALUE, Harness, SourceOfValues, failure, token_of
from tests.fakes.context import FakeContext


class PoolHarness(Harness):
    """Two members; the test gives to the first, and takes from it."""

    def __init__(self) -> None:
        self.context = FakeContext(tokens={"a": Secret(VALUE)})

    def fetcher(self) -> Fetcher:
        """Bind it."""
        return PoolSource(PoolSettings(("a", "b")), self.context).fetcher(NoSettings(), "work")

    def give(self, text: str) -> None:
        """Let the first have it."""
        self.context.tokens = {"a": Secret(text)}

    def remove(self) -> None:
        """Let none have any."""
        self.context.tokens = {}


class TestPool(SourceOfValues):
    """What every source promises."""

    @pytest.fixture
    def harness(self) -> PoolHarness:
        """Two members."""
        return PoolHarness()


async def test_the_next_one_serves_where_the_first_has_none() -> None:
    """In the config's order."""
    harness = PoolHarness()
    harness.context.tokens = {"b": Secret(OTHER)}
    assert token_of(await harness.fetcher().fetch()) == OTHER


@pytest.mark.parametrize(
    ("first", "second", "raised"),
    [
        (PermanentFetchError("denied"), PermanentFetchError("gone"), PermanentFetchError),
        (PermanentFetchError("denied"), LoginRequired("signed out"), LoginRequired),
        (LoginRequired("signed out"), TransientFetchError("no route"), TransientFetchError),
    ],
)
async def test_what_each_member_lacks_is_told(first: Exception, second: Exception, raised: type[Exception]) -> None:
    """And trying again makes sense if it does for one of them."""

    class Failing(FakeContext):
        async def token(self, credential: str, **_: object) -> Secret:
            raise first if credential == "a" else second

    fetcher = PoolSource(PoolSettings(("a", "b")), Failing()).fetcher(NoSettings(), "work")
    error = await failure(fetcher)
    assert type(error) is raised
    assert str(error) == f"no member has a token: a: {first}; b: {second}"
