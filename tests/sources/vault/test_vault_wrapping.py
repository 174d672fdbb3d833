"""A response-wrapped secret_id: opened once, kept, and never taken from somebody else."""

from __future__ import annotations

from typing import Any

import pytest

from broker.errors import PermanentFetchError, TransientFetchError
from broker.secret import Secret
from broker.service.secrets import Lending
from broker.sources.references import Reference
from broker.sources.vault.auth import AppRole
from broker.sources.vault.settings import VaultSettings, VaultSourceSettings
from broker.sources.vault.source import VaultSource
from tests.contracts.source_contract import OTHER, VALUE, failure, token_of
from tests.fakes.context import FakeSecrets
from tests.fakes.vault import FakeVault
from tests.sources.vault.place import Place

WRAPPED = AppRole("r", Reference(local="wrapped"), wrapping_role="claude")


@pytest.fixture
def vault(vault: FakeVault) -> FakeVault:
    """Let the server take nothing but what the wrapping holds."""
    vault.proof = {"secret_id": "fake-wrapped-id"}
    return vault


def _wrapped(vault: FakeVault, **settings: Any) -> Place:  # noqa: ANN401  # any setting
    """Give a source whose secret_id is wrapped; a later run has the `context` of the one before."""
    place = Place(vault, auth=WRAPPED, **settings)
    place.context.secrets.records["wrapped"] = Secret("fake-wrapping-token")
    return place


def _wrapping(vault: FakeVault, made_by: str = "auth/approle/role/claude/secret-id") -> list[str]:
    """Have the server hold one wrapped secret_id; give the calls that were made for it."""
    calls: list[str] = []

    def answer(_method: str, path: str) -> tuple[int, dict[str, Any]] | None:
        if not path.startswith("sys/wrapping/"):
            return None
        calls.append(path.rpartition("/")[2])
        if calls.count("unwrap") > 1 or (calls.count("unwrap") == 1 and calls[-1] == "lookup"):
            return 400, {"errors": ["wrapping token is not valid or does not exist"]}
        part = {"creation_path": made_by} if calls[-1] == "lookup" else {"secret_id": "fake-wrapped-id"}
        return 200, {"data": part}

    vault.answer = answer
    return calls


async def test_a_wrapped_secret_id_is_opened_once_and_serves_every_login(vault: FakeVault) -> None:
    """The wrapping can be opened only once; what was in it lasts as long as the daemon."""
    calls = _wrapping(vault)
    place = _wrapped(vault)
    fetcher = place.fetcher("secret/claude")
    await fetcher.fetch()
    vault.forget_tokens()
    await fetcher.fetch()
    assert vault.calls["auth/approle/login"] == 2
    assert calls == ["lookup", "unwrap"]
    await place.source.close()


@pytest.fixture
async def unwrapped(vault: FakeVault) -> tuple[Place, list[str]]:
    """Give a source that has opened its wrapping and was closed, and the calls that were made for it."""
    calls = _wrapping(vault)
    place = _wrapped(vault)
    await place.fetcher("secret/claude").fetch()
    await place.source.close()
    return place, calls


async def test_an_opened_wrapping_outlasts_the_daemon(vault: FakeVault, unwrapped: tuple[Place, list[str]]) -> None:
    """A restart or a lock needs no new wrapping token; a new one is opened like the first."""
    earlier, calls = unwrapped
    place = _wrapped(vault, context=earlier.context)
    assert token_of(await place.fetcher("secret/claude").fetch()) == VALUE
    assert calls == ["lookup", "unwrap"]
    calls.clear()
    place.context.secrets.records["wrapped"] = Secret("fake-wrapping-token-2")
    fetcher = place.fetcher("secret/claude")
    assert fetcher.changed()
    await fetcher.fetch()
    assert calls == ["lookup", "unwrap"]
    await place.source.close()


@pytest.mark.parametrize("record", [None, "", "[]", "{}", '{"secret_id": "fake-wrapped-id"}'])
async def test_what_is_kept_of_something_else_is_not_used(
    vault: FakeVault, unwrapped: tuple[Place, list[str]], record: str | None
) -> None:
    """Not for another server (here: by another namespace), and not what nobody can read."""
    earlier, calls = unwrapped
    if record is not None:
        earlier.context.login.record = Secret(record)
    place = _wrapped(vault, context=earlier.context, namespace="other" if record is None else None)
    assert "unwrapped already" in str(await failure(place.fetcher("secret/claude")))
    assert calls == ["lookup", "unwrap", "lookup"]
    await place.source.close()


async def test_a_secret_id_that_is_refused_is_not_kept(vault: FakeVault, unwrapped: tuple[Place, list[str]]) -> None:
    """The message says what to ask for; a server that is not ready is no reason to throw it away."""
    earlier, _ = unwrapped
    answers = {"auth/approle/login": (503, {"errors": ["Vault is sealed"]})}
    vault.answer = lambda _method, path: answers.get(path)
    place = _wrapped(vault, context=earlier.context)
    assert "sealed" in str(await failure(place.fetcher("secret/claude")))
    kept = earlier.context.login.record
    assert kept is not None
    answers["auth/approle/login"] = 400, {"errors": ["invalid role or secret ID"]}
    place = _wrapped(vault, context=earlier.context)
    assert "ask for a new wrapping token" in str(await failure(place.fetcher("secret/claude")))
    assert earlier.context.login.get() is None
    await place.source.close()


async def test_a_wrapping_is_left_alone_while_nobody_can_tell_whether_it_was_opened(vault: FakeVault) -> None:
    """While the store is locked, and for the doctor, who would use it up."""
    calls = _wrapping(vault)
    settings = VaultSourceSettings(vault.address, auth=WRAPPED)
    secrets = FakeSecrets({"wrapped": Secret("fake-wrapping-token")})
    source = VaultSource(settings, Lending(secrets))
    error = await failure(source.fetcher(VaultSettings("secret/claude"), "work"))
    assert isinstance(error, TransientFetchError)
    assert calls == []
    await source.close()


async def test_where_nothing_can_be_stored_memory_must_do(vault: FakeVault) -> None:
    """As long as the daemon runs, nothing is missing."""
    calls = _wrapping(vault)
    place = _wrapped(vault)
    place.context.login.stores = False
    fetcher = place.fetcher("secret/claude")
    for _ in range(2):
        assert token_of(await fetcher.fetch()) == VALUE
        vault.forget_tokens()
    assert calls == ["lookup", "unwrap"]
    await place.source.close()


async def test_a_wrapping_made_elsewhere_is_left_closed(vault: FakeVault) -> None:
    """Whoever swapped it would have us sign in as theirs."""
    calls = _wrapping(vault, made_by="auth/approle/role/other/secret-id")
    place = _wrapped(vault)
    error = await failure(place.fetcher("secret/claude"))
    assert isinstance(error, PermanentFetchError)
    assert "was not made by auth/approle/role/claude/secret-id" in str(error)
    assert calls == ["lookup"]
    await place.source.close()


async def test_a_wrapping_that_somebody_opened_is_an_alarm(vault: FakeVault) -> None:
    """It is told in plain words; another wrapping token mends it."""
    _wrapping(vault).append("unwrap")
    place = _wrapped(vault)
    fetcher = place.fetcher("secret/claude")
    assert "somebody else has read it" in str(await failure(fetcher))
    _wrapping(vault)
    place.context.secrets.records["wrapped"] = Secret(OTHER)
    assert fetcher.changed()
    assert token_of(await fetcher.fetch()) == VALUE
    await place.source.close()
