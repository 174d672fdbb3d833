"""The `env` source."""

from __future__ import annotations

import pytest

from broker.errors import PermanentFetchError
from broker.sources import TYPES
from broker.sources.env import EnvFetcher, EnvSettings
from tests.contracts.source_contract import VALUE, Harness, SourceOfValues, failure
from tests.fakes.context import FakeContext

NAME = "BROKER_TEST_TOKEN"


class _EnvHarness(Harness):
    """Sets and unsets the variable."""

    def __init__(self, environment: pytest.MonkeyPatch) -> None:
        self._environment = environment
        self.give(VALUE)

    def fetcher(self) -> EnvFetcher:
        return EnvFetcher(EnvSettings(NAME))

    def give(self, text: str) -> None:
        self._environment.setenv(NAME, text)

    def remove(self) -> None:
        self._environment.delenv(NAME)


class TestEnv(SourceOfValues):
    """It keeps the contract."""

    @pytest.fixture
    def harness(self, monkeypatch: pytest.MonkeyPatch) -> Harness:
        """Give a variable that is set."""
        return _EnvHarness(monkeypatch)

    async def test_a_variable_that_is_not_set_is_permanent_and_named(self, harness: Harness) -> None:
        """Only a restart can change the daemon's environment, so nothing is tried again by itself."""
        harness.remove()
        error = await failure(harness.fetcher())
        assert isinstance(error, PermanentFetchError)
        assert NAME in str(error)
        assert "broker restart" in str(error)


@pytest.mark.parametrize("name", ["", "sk-ant-fake-token", "A=B", "1A", "A B", "A\0"])
def test_a_name_that_can_be_no_variable_is_refused_unquoted(name: str) -> None:
    """Who writes the secret itself where its variable's name belongs does not see it in an error."""
    with pytest.raises(ValueError, match="not its value") as caught:
        EnvSettings(name)
    assert not name or name not in str(caught.value)


async def test_the_type_opens_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """`source = "env"` needs no table of its own."""
    monkeypatch.setenv(NAME, VALUE)
    type_ = TYPES["env"]
    source = type_.open(type_.source_settings(), FakeContext())
    assert (await source.fetcher(EnvSettings(NAME), "work").fetch()).parts
    await source.close()
