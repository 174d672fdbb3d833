"""The `demo` source."""

from __future__ import annotations

import time

import pytest

from broker.durations import Duration
from broker.errors import TransientFetchError
from broker.sources.demo import DemoFetcher, DemoSettings
from tests.contracts.source_contract import AnySource, Harness, SourceThatFails, SourceThatWaits, failure, token_of


class _DemoHarness(Harness):
    """Chooses the settings."""

    def __init__(self) -> None:
        self._settings = DemoSettings()
        self._fetcher = DemoFetcher(self._settings)

    def fetcher(self) -> DemoFetcher:
        return self._fetcher

    def hang(self) -> None:
        self._fetcher = DemoFetcher(DemoSettings(delay=Duration(0.2)))

    def release(self) -> None:
        self._fetcher = DemoFetcher(DemoSettings())

    def fail(self, saying: str) -> None:  # noqa: ARG002  # it says nothing of others
        self._fetcher = DemoFetcher(DemoSettings(failure_rate=1.0))


class TestDemo(AnySource, SourceThatWaits, SourceThatFails):
    """It keeps the contract."""

    @pytest.fixture
    def harness(self) -> Harness:
        """Give one with the usual settings."""
        return _DemoHarness()


async def test_every_token_is_new_and_lives_as_long_as_asked() -> None:
    """Two fetches never give the same token, and each dies after `lifetime`."""
    fetcher = DemoFetcher(DemoSettings(lifetime=Duration(8)))
    before = time.time()
    first, second = await fetcher.fetch(), await fetcher.fetch()
    assert first.expires_at is not None
    assert before + 8 <= first.expires_at <= time.time() + 8
    assert token_of(first).startswith("demo-")
    assert token_of(first) != token_of(second)


async def test_it_fails_as_often_as_asked() -> None:
    """A rate of 1 always fails, in a way that is tried again; the last resort leaves room for the delay."""
    assert isinstance(await failure(DemoFetcher(DemoSettings(failure_rate=1.0))), TransientFetchError)
    assert DemoFetcher(DemoSettings(delay=Duration(100))).timeout_s > 100


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_a_rate_is_a_share(rate: float) -> None:
    """Anything outside 0 to 1 is refused."""
    with pytest.raises(ValueError, match="0 to 1"):
        DemoSettings(failure_rate=rate)
