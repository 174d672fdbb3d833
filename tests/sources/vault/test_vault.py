"""The `vault` source: reading, over a fake server (tests/real/test_vault.py has a real one)."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from broker.durations import Duration
from broker.errors import PermanentFetchError, TransientFetchError
from broker.model import Kind
from broker.sources import TYPES
from broker.sources.vault.auth import AppRole
from broker.sources.vault.settings import VaultSettings, VaultSourceSettings
from broker.sources.vault.source import VaultFetcher, VaultSource
from tests.contracts.source_contract import (
    OTHER,
    PATIENCE_S,
    VALUE,
    Harness,
    SourceOfValues,
    SourceThatFails,
    SourceThatWaits,
    failure,
    token_of,
)
from tests.fakes.context import FakeContext
from tests.fakes.vault import FakeVault, fake_vault
from tests.sources.vault.place import Place


class _VaultHarness(Harness):
    """Writes the secret at the server, and makes it hang or fail."""

    def __init__(self, place: Place) -> None:
        self._vault = place.vault
        self._fetcher = place.fetcher("secret/claude", field="key")

    def fetcher(self) -> VaultFetcher:
        return self._fetcher

    def give(self, text: str) -> None:
        self._vault.kv["claude"] = {"key": text}

    def remove(self) -> None:
        del self._vault.kv["claude"]

    def hang(self) -> None:
        self._vault.gate.clear()

    def release(self) -> None:
        self._vault.gate.set()

    def fail(self, saying: str) -> None:
        self._vault.answer = lambda _method, _path: (500, {"errors": [f"1 error occurred:\n\t* {saying}\n\n"]})


class TestVault(SourceOfValues, SourceThatWaits, SourceThatFails):
    """It keeps the contract."""

    @pytest.fixture
    def harness(self, place: Place) -> Harness:
        """Give a path with a secret."""
        return _VaultHarness(place)


@pytest.mark.parametrize("path", ["secret/claude", "secret/data/claude", "/secret/claude/", "v1/secret/data/claude"])
async def test_the_path_is_what_people_see(place: Place, path: str) -> None:
    """As `bao kv get` takes it, or as the API has it."""
    issued = await place.fetcher(path).fetch()
    assert token_of(issued) == VALUE
    assert issued.details["version"] == "1"


async def test_a_mount_without_versions_is_read_as_it_is(place: Place) -> None:
    """KV v1 has no `data/` in its paths, and the end that it states is no end."""
    place.vault.old["claude"] = {"key": VALUE}
    issued = await place.fetcher("old/claude").fetch()
    assert (token_of(issued), issued.expires_at) == (VALUE, None)
    assert "keeps no versions" in str(await failure(place.fetcher("old/claude", version=2)))


async def test_a_version_can_be_named(place: Place) -> None:
    """And is told in the details."""
    assert (await place.fetcher("secret/claude", version=7).fetch()).details["version"] == "7"


async def test_where_the_mounts_may_not_be_seen_the_path_of_the_api_works(place: Place) -> None:
    """Some policies hide them."""
    place.vault.answer = lambda _method, path: (
        (403, {"errors": ["preflight capability check returned 403"]}) if "internal" in path else None
    )
    assert token_of(await place.fetcher("secret/data/claude").fetch()) == VALUE


@pytest.mark.parametrize(
    ("data", "field", "expected"),
    [
        ({"key": VALUE}, None, VALUE),
        ({"a.b": VALUE, "a": {"b": "fake"}}, "a.b", VALUE),
        ({"a": {"b": [{"c": VALUE}]}}, "a.b.0.c", VALUE),
    ],
)
async def test_a_field_is_found(place: Place, data: dict[str, Any], field: str | None, expected: str) -> None:
    """The only one by itself; a name with a dot as it is; else step by step."""
    place.vault.kv["claude"] = data
    assert token_of(await place.fetcher("secret/claude", field=field).fetch()) == expected


@pytest.mark.parametrize(
    ("data", "field", "expected"),
    [
        ({"one": VALUE, "two": VALUE}, None, "which field? It has one, two; set field"),
        ({}, None, "It has none"),
        ({"one": VALUE, "two": VALUE}, "on", "no field on; it has one, two"),
        ({"one": {"two": VALUE}}, "one", "has fields itself: two"),
        ({"one": 7}, "one", "not text"),
        ({"\x1b[31m": VALUE, "b": VALUE}, "c", "(odd name), b"),
        ({f"k{number:02}": VALUE for number in range(30)}, None, "k19, ...;"),
    ],
)
async def test_a_wrong_field_lists_the_names_and_never_a_value(
    place: Place, data: dict[str, Any], field: str | None, expected: str
) -> None:
    """That is what one needs to mend the config."""
    place.vault.kv["claude"] = data
    error = await failure(place.fetcher("secret/claude", field=field))
    assert expected in str(error)
    assert VALUE not in str(error)
    assert isinstance(error, PermanentFetchError)


async def test_an_aws_engine_gives_an_aws_session(place: Place) -> None:
    """With the lease's end; a user's keys have no session token."""
    data = {"access_key": "FAKEKEYID", "secret_key": "fake-secret-key", "security_token": None}
    reply = {"data": data, "lease_id": "aws/creds/x/1", "lease_duration": 900, "renewable": False}
    place.vault.answer = lambda _method, path: (200, reply) if path == "aws/creds/x" else None
    issued = await place.fetcher("aws/creds/x").fetch()
    assert issued.kind is Kind.AWS_SESSION
    assert {name: part.reveal() for name, part in issued.parts.items()} == {
        "access_key_id": "FAKEKEYID",
        "secret_access_key": "fake-secret-key",
    }
    assert issued.expires_at is not None


async def test_data_makes_it_a_write(place: Place) -> None:
    """For engines that sign or encrypt what they are given."""
    issued = await place.fetcher("signed/x", field="token", data={"ttl": "1h"}).fetch()
    assert token_of(issued) == "fake-signed-2"
    assert place.vault.bodies["signed/x"] == {"ttl": "1h"}


async def test_fifty_credentials_ask_for_one_login(place: Place) -> None:
    """Cold and all at once: one login, one look for the mount, a read each."""
    for number in range(50):
        place.vault.kv[f"c{number}"] = {"key": f"fake-token-{number}"}
    fetchers = [place.fetcher(f"secret/c{number}") for number in range(50)]
    issued = await asyncio.gather(*(fetcher.fetch() for fetcher in fetchers))
    assert [token_of(one) for one in issued] == [f"fake-token-{number}" for number in range(50)]
    assert place.vault.calls["auth/approle/login"] == 1
    assert place.vault.calls.total() == 52


async def test_two_sources_never_share_a_login(vault: FakeVault) -> None:
    """Not even with the same settings: one may be another person's tomorrow."""
    places = [Place(vault), Place(vault)]
    for place in places:
        await place.fetcher("secret/claude").fetch()
    assert vault.calls["auth/approle/login"] == 2
    for place in places:
        await place.source.close()


async def test_a_namespace_is_asked_for_in_every_call(vault: FakeVault) -> None:
    """The header that Vault Enterprise and OpenBao take."""
    place = Place(vault, namespace="team/a")
    await place.fetcher("secret/claude").fetch()
    assert vault.headers["X-Vault-Namespace"] == "team/a"
    vault.answer = lambda _method, _path: (404, {"errors": ["namespace not found"]})
    assert "no namespace team/a" in str(await failure(place.fetcher("secret/claude")))
    await place.source.close()


@pytest.mark.parametrize(
    ("status", "errors", "expected", "kind"),
    [
        (403, ["1 error occurred:\n\t* permission denied\n\n"], 'capabilities = ["read"]', PermanentFetchError),
        (404, ['no handler for route "secret/x". route entry not found.'], "no engine is mounted", PermanentFetchError),
        (404, [], "no such secret", PermanentFetchError),
        (400, ["missing role"], "missing role", PermanentFetchError),
        (429, [], "429", TransientFetchError),
        (500, ["database down"], "database down", TransientFetchError),
        (502, [], "", TransientFetchError),
        (503, ["Vault is sealed"], "Vault is sealed", TransientFetchError),
        (412, ["required index state not present"], "required index", TransientFetchError),
    ],
)
async def test_what_the_server_refuses_is_told_with_what_mends_it(
    place: Place, status: int, errors: list[str], expected: str, kind: type[Exception]
) -> None:
    """And whether trying again makes sense."""
    place.vault.answer = lambda _method, path: (status, {"errors": errors}) if path == "secret/data/claude" else None
    error = await failure(place.fetcher("secret/claude"))
    assert isinstance(error, kind)
    assert expected in str(error)


@pytest.mark.parametrize("status", [429, 503])
async def test_the_server_says_how_long_to_leave_it_alone(place: Place, status: int) -> None:
    """The engine obeys."""
    await place.fetcher("secret/claude").fetch()
    place.vault.extra_headers["Retry-After"] = "17"
    place.vault.answer = lambda _method, _path: (status, {"errors": []})
    error = await failure(place.fetcher("secret/claude"))
    assert isinstance(error, TransientFetchError)
    assert error.retry_after_s == 17


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        (
            {"version": 3, "deletion_time": "2026-11-22T02:11:38.5Z", "destroyed": False},
            "version 3 was deleted at 2026-11-22T02:11:38Z; run: bao kv undelete -versions=3 secret/claude",
        ),
        ({"version": 3, "deletion_time": "2026-11-22T02:11:38Z", "destroyed": True}, "version 3 was destroyed"),
    ],
)
async def test_a_deleted_version_says_so_and_when(place: Place, metadata: dict[str, Any], expected: str) -> None:
    """It is not the same as one that never was."""
    body = {"data": {"data": None, "metadata": metadata}}
    place.vault.answer = lambda _method, path: (404, body) if path == "secret/data/claude" else None
    assert expected in str(await failure(place.fetcher("secret/claude")))


async def test_a_server_that_does_not_answer_is_given_up_on(vault: FakeVault) -> None:
    """Within the source's timeout."""
    place = Place(vault, timeout=Duration(0.05))
    vault.gate.clear()
    error = await asyncio.wait_for(failure(place.fetcher("secret/claude")), PATIENCE_S)
    assert isinstance(error, TransientFetchError)
    assert "no answer within 0.05 s" in str(error)
    vault.gate.set()
    await place.source.close()


async def test_nobody_there_is_told_by_address() -> None:
    """Nothing listens on port 1."""
    source = VaultSource(VaultSourceSettings("http://127.0.0.1:1", auth=AppRole("fake-role")), FakeContext())
    error = await failure(source.fetcher(VaultSettings("secret/claude"), "work"))
    assert str(error).startswith("http://127.0.0.1:1: nothing listens there (connection refused); check `address`")
    assert isinstance(error, TransientFetchError)


async def test_an_endless_answer_is_not_read_to_its_end(place: Place) -> None:
    """A proxy's page costs a message, not the daemon's memory."""
    place.vault.answer = lambda _method, _path: (200, {"data": {"key": "x" * (4 * 1024 * 1024)}})
    assert "its answer has more than 4 MiB" in str(await failure(place.fetcher("secret/claude")))


async def test_a_redirect_from_http_is_not_followed(place: Place) -> None:
    """The token would go to wherever it leads."""
    with fake_vault() as other:
        place.vault.extra_headers["Location"] = f"{other.address}/v1/elsewhere"
        place.vault.answer = lambda _method, _path: (307, {})
        assert isinstance(await failure(place.fetcher("secret/claude")), TransientFetchError)
        assert not other.calls


async def test_proxies_and_netrc_of_the_environment_see_no_plain_http(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A loopback server is asked directly, and no other password goes to it."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login fake password fake-password\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert token_of(await place.fetcher("secret/claude").fetch()) == VALUE
    assert "Authorization" not in place.vault.headers


async def test_a_new_value_is_noticed_when_it_is_old_enough(place: Place) -> None:
    """KV has no lease, so it is read again after `max_age`; between that nobody asks the server."""
    fetcher = place.fetcher("secret/claude")
    await fetcher.fetch()
    place.vault.kv["claude"] = {"key": OTHER}
    assert not fetcher.changed()
    assert token_of(await fetcher.fetch()) == OTHER


def test_the_library_is_loaded_by_who_uses_it() -> None:
    """A daemon without Vault pays nothing for it."""
    program = "import sys, broker.sources; print(sorted({'hvac', 'requests', 'ssl', 'certifi'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=True)
    assert "hvac" not in done.stdout
    assert "requests" not in done.stdout


async def test_what_takes_long_to_load_is_loaded_when_the_source_is_opened(vault: FakeVault) -> None:
    """Not when the first asks for a token; the server is not asked for anything yet."""
    source = TYPES["vault"].open(VaultSourceSettings(vault.address), FakeContext())
    assert isinstance(source, VaultSource)
    async with asyncio.timeout(PATIENCE_S):
        while source.session.connection._transport is None:
            await asyncio.sleep(0.005)
    assert not vault.calls
    await source.close()


async def test_settings_that_cannot_be_loaded_are_told_to_who_asks(tmp_path: Path) -> None:
    """Opening the source does not fail over them: they may be mended until then."""
    settings = VaultSourceSettings("https://127.0.0.1:1", ca_cert=str(tmp_path / "ca.pem"), auth=AppRole("fake-role"))
    source = TYPES["vault"].open(settings, FakeContext())
    error = await failure(source.fetcher(VaultSettings("secret/claude"), "work"))
    assert "ca.pem: no file of PEM certificates" in str(error)
    await source.close()
