"""The `local` source: what `broker secret set` stored."""

from __future__ import annotations

import pytest

from broker.errors import PermanentFetchError, TransientFetchError
from broker.secret import Secret
from broker.sources import TYPES
from broker.sources.interface import Fetcher, NoSettings
from broker.sources.local import LocalFetcher, LocalSettings
from tests.contracts.source_contract import VALUE, Harness, SourceOfValues, failure, token_of
from tests.fakes.context import FakeContext


class _LocalHarness(Harness):
    """Puts records into the store, and takes them out."""

    def __init__(self) -> None:
        self.context = FakeContext()
        self.give(VALUE)

    def fetcher(self) -> Fetcher:
        return LocalFetcher(self.context.secrets, "work")

    def give(self, text: str) -> None:
        self.context.secrets.records["work"] = Secret(text)

    def remove(self) -> None:
        del self.context.secrets.records["work"]


@pytest.fixture
def harness() -> _LocalHarness:
    """Give a store with one secret."""
    return _LocalHarness()


class TestLocal(SourceOfValues):
    """As every source of values."""


async def test_a_missing_secret_is_told_with_the_command_that_stores_it(harness: _LocalHarness) -> None:
    """It stays missing until a person runs that."""
    harness.remove()
    error = await failure(harness.fetcher())
    assert isinstance(error, PermanentFetchError)
    assert "run: broker secret set work" in str(error)


@pytest.mark.parametrize("password", ["two words", "fäke"])
async def test_a_stored_password_is_not_served_as_a_token(harness: _LocalHarness, password: str) -> None:
    """Any text can be stored, to sign in with; Claude Code would not take it as a key."""
    harness.give(password)
    error = await failure(harness.fetcher())
    assert isinstance(error, PermanentFetchError)
    assert "stored secret work: the token has" in str(error)
    assert "run: broker secret set work" in str(error)
    assert password not in str(error)


async def test_while_the_store_is_locked_it_can_be_tried_again(harness: _LocalHarness) -> None:
    """The keyring may come back by itself."""
    harness.context.secrets.locked = True
    assert isinstance(await failure(harness.fetcher()), TransientFetchError)


@pytest.mark.parametrize(("settings", "record"), [(LocalSettings(), "work"), (LocalSettings("other"), "other")])
async def test_the_name_is_the_credentials_own_unless_another_is_given(settings: LocalSettings, record: str) -> None:
    """For reading, and for knowing which record's change concerns it; nothing of it is cached beside."""
    type_ = TYPES["local"]
    context = FakeContext()
    context.secrets.records[record] = Secret(VALUE)
    source = type_.open(NoSettings(), context)
    assert token_of(await source.fetcher(settings, "work").fetch()) == VALUE
    assert type_.record(settings, "work") == record
    assert not type_.cacheable
    await source.close()


@pytest.mark.parametrize("name", ["", "two words", "sk-ant/fake", "x" * 65])
def test_a_name_that_can_be_none_is_refused_unquoted(name: str) -> None:
    """Who writes the secret itself where its name belongs does not see it in an error."""
    with pytest.raises(ValueError, match="not its value") as caught:
        LocalSettings(name)
    assert not name or name not in str(caught.value)
