"""The `vault` source on a real OpenBao: every way to sign in, every fault, and real Claude Code over it."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from broker.durations import Duration
from broker.errors import PermanentFetchError, TransientFetchError
from broker.sources.interface import Fetcher
from broker.sources.references import Reference
from broker.sources.vault.auth import AppRole, Auth
from broker.sources.vault.settings import VaultSettings, VaultSourceSettings
from broker.sources.vault.source import VaultFetcher, VaultSource
from tests.contracts.source_contract import (
    VALUE,
    Harness,
    SourceOfValues,
    SourceThatFails,
    SourceThatWaits,
    failure,
    token_of,
)
from tests.real.claude import Answer
from tests.real.company import ENVIRONMENT, KEPT, READ, ROLE_ID, SECRET_ID, Company, company, configured, pocket
from tests.real.conftest import Developer, Need
from tests.real.installed import Place, running
from tests.real.openbao import BAO
from tests.real.paused import BRIEF_S, waits
from tests.real.upstream import ANSWER, Upstream
from tests.setup_claude_code import NEWER

pytestmark = pytest.mark.real

PONG = Answer(ANSWER, failed=False)
APPROLE = AppRole(ROLE_ID, Reference(local="secret-id"))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    """A server for the tests that leave it as it was."""
    with company(tmp_path_factory.mktemp("bao")) as made:
        made.approle()
        made.mount("kv", "old", version="1")
        made.allow({"secret/data/*": READ, "old/*": READ})
        yield made


@pytest.fixture
def bao(need: Need, request: pytest.FixtureRequest) -> Company:
    """The shared server, with one secret."""
    need(BAO.exists(), f"{BAO} is missing")
    made: Company = request.getfixturevalue("shared")
    made.put("claude", key=VALUE)
    return made


@pytest.fixture
def own(need: Need, tmp_path: Path) -> Iterator[Company]:
    """A server of the test's own, to break."""
    need(BAO.exists(), f"{BAO} is missing")
    with company(tmp_path) as made:
        settle(made)
        yield made


def settle(made: Company, **role: Any) -> None:  # noqa: ANN401  # JSON
    """Set up what `own` has."""
    made.approle(**role)
    made.allow({"secret/data/claude": READ})
    made.put("claude", key=VALUE)


def source(bao: Company, auth: Auth = APPROLE, **settings: Any) -> VaultSource:  # noqa: ANN401  # any setting
    """Open a source at the server."""
    wanted = {"address": bao.address, "auth": auth, **settings}
    return VaultSource(VaultSourceSettings(**wanted), pocket(**{"secret-id": SECRET_ID, "password": "fake-password"}))


@pytest.fixture
async def corp(bao: Company) -> AsyncIterator[VaultSource]:
    """A source at the shared server."""
    made = source(bao)
    yield made
    await made.close()


def bind(made: VaultSource, path: str = "secret/claude", **settings: Any) -> Fetcher:  # noqa: ANN401  # any setting
    """Bind a path."""
    return made.fetcher(VaultSettings(path, **settings), "work")


class _Harness(Harness):
    """The administrator writes, deletes, pauses, and takes the policy away."""

    def __init__(self, bao: Company, corp: VaultSource) -> None:
        self._bao = bao
        self._fetcher = bind(corp)

    def fetcher(self) -> Fetcher:
        return self._fetcher

    def give(self, text: str) -> None:
        self._bao.put("claude", key=text)

    def remove(self) -> None:
        self._bao.call("DELETE", "secret/metadata/claude")

    def hang(self) -> None:
        self._bao.pause()

    def release(self) -> None:
        self._bao.resume()

    def fail(self, saying: str) -> None:  # noqa: ARG002  # the server has its own words
        self._bao.call("DELETE", "sys/policies/acl/claude")


class TestVault(SourceOfValues, SourceThatWaits, SourceThatFails):
    """It keeps the contract of all sources, on the real server."""

    @pytest.fixture
    def harness(self, bao: Company, corp: VaultSource) -> Iterator[Harness]:
        """Give a path, and mend afterwards what the test did."""
        yield _Harness(bao, corp)
        bao.resume()
        bao.allow({"secret/data/*": READ, "old/*": READ})


async def test_both_versions_of_kv_are_read_by_the_path_that_people_see(bao: Company, corp: VaultSource) -> None:
    """The one of `bao kv get`; which engine is mounted there is our business."""
    bao.post("old/claude", key="fake-old")
    assert token_of(await bind(corp, "secret/claude").fetch()) == VALUE
    assert token_of(await bind(corp, "secret/data/claude").fetch()) == VALUE
    assert token_of(await bind(corp, "old/claude").fetch()) == "fake-old"


async def test_a_deleted_version_says_so_and_an_earlier_one_can_be_named(bao: Company, corp: VaultSource) -> None:
    """The message names the command that brings it back."""
    bao.put("versions", key="fake-one")
    bao.put("versions", key="fake-two")
    bao.call("DELETE", "secret/data/versions")
    error = await failure(bind(corp, "secret/versions"))
    assert "version 2 was deleted at 20" in str(error)
    assert "bao kv undelete -versions=2 secret/versions" in str(error)
    assert token_of(await bind(corp, "secret/versions", version=1).fetch()) == "fake-one"
    bao.post("secret/destroy/versions", versions=[2])
    assert "version 2 was destroyed" in str(await failure(bind(corp, "secret/versions")))
    assert "no such secret of version 9" in str(await failure(bind(corp, "secret/versions", version=9)))


async def test_a_missing_policy_names_path_and_capability(bao: Company, corp: VaultSource) -> None:
    """What to ask the administrator for, ready to be pasted."""
    bao.mount("kv", "closed", version="2")
    error = await failure(bind(corp, "closed/claude"))
    assert isinstance(error, PermanentFetchError)
    assert 'path "closed/claude" { capabilities = ["read"] }' in str(error)


async def test_a_namespace_that_is_not_there_is_named(bao: Company) -> None:
    """It looks like a missing secret otherwise."""
    made = source(bao, namespace="nobody")
    assert "no namespace nobody" in str(await failure(bind(made)))
    await made.close()


async def test_a_wrong_secret_id_is_told_and_not_tried_by_everybody(bao: Company) -> None:
    """Fifty credentials make one try: accounts get locked by less."""
    made = source(bao, AppRole(ROLE_ID, Reference(local="password")))
    errors = await asyncio.gather(*(failure(bind(made)) for _ in range(50)))
    assert {str(error) for error in errors} == {
        f"{bao.address}: sign in (approle): invalid role or secret ID; check `auth` of the source and the secret it names"
    }
    await made.close()


async def test_a_revoked_token_costs_one_login(own: Company) -> None:
    """Nobody is told."""
    made = source(own)
    fetcher = bind(made)
    assert token_of(await fetcher.fetch()) == VALUE
    own.revoke_logins()
    assert token_of(await fetcher.fetch()) == VALUE
    await made.close()


async def test_a_policy_that_is_taken_away_is_told_and_its_return_needs_nothing(own: Company) -> None:
    """One more login, then the error; once it is back so is the key."""
    made = source(own)
    fetcher = bind(made)
    await fetcher.fetch()
    own.call("DELETE", "sys/policies/acl/claude")
    assert 'path "secret/data/claude" { capabilities = ["read"] }' in str(await failure(fetcher))
    own.allow({"secret/data/claude": READ})
    assert token_of(await fetcher.fetch()) == VALUE
    await made.close()


async def test_a_sealed_server_is_told_and_its_unsealing_too(own: Company) -> None:
    """Sealed is no reason to sign in again, nor to give up."""
    made = source(own)
    fetcher = bind(made)
    await fetcher.fetch()
    own.post("sys/seal")
    error = await failure(fetcher)
    assert isinstance(error, TransientFetchError)
    assert "sealed" in str(error)
    own.post("sys/unseal", key=own.server.unseal_key)
    assert token_of(await fetcher.fetch()) == VALUE
    assert own.logins() == 1
    await made.close()


async def test_a_restarted_server_that_forgot_everything_costs_one_login(own: Company) -> None:
    """As soon as it answers again."""
    made = source(own)
    fetcher = bind(made)
    await fetcher.fetch()
    own.stop()
    error = await failure(fetcher)
    assert isinstance(error, TransientFetchError)
    assert "connection refused" in str(error)
    own.start()
    settle(own)
    assert token_of(await fetcher.fetch()) == VALUE
    await made.close()


async def test_a_paused_server_is_given_up_on_within_the_timeout(own: Company) -> None:
    """And asked again afterwards without a new login."""
    made = source(own, timeout=Duration(2))
    fetcher = bind(made)
    await fetcher.fetch()
    own.pause()
    assert "no answer within 2 s" in str(await failure(fetcher))
    own.resume()
    assert token_of(await fetcher.fetch()) == VALUE
    assert own.logins() == 1
    await made.close()


async def test_our_token_is_given_back(own: Company) -> None:
    """Revoked when the source is closed, whatever its life would be; also one that a refusal had us replace."""
    made = source(own)
    await bind(made).fetch()
    await failure(bind(made, "secret/other"))
    assert own.logins() == 2
    await made.close()
    assert own.logins() == 0


async def test_our_token_is_kept_alive_and_replaced(own: Company) -> None:
    """Renewed for as long as the server allows, and another one got after that."""
    own.post("auth/approle/role/claude", token_policies=["claude"], token_ttl="3s", token_max_ttl="6s")
    made = source(own)
    fetcher = bind(made)
    assert isinstance(fetcher, VaultFetcher)
    await fetcher.fetch()
    first = made.session._login
    assert first is not None
    async with asyncio.timeout(20):
        while not first.over and first.renewable:
            assert made.session.current(first)
            await asyncio.sleep(0.1)
    async with asyncio.timeout(20):
        while made.session.current(first):
            await asyncio.sleep(0.05)
    assert token_of(await fetcher.fetch()) == VALUE
    assert made.session._login is not first
    await made.close()


OFTEN = ('refresh_interval_min = "1s"',)


@pytest.fixture
def claude_key(own: Company, place: Place, upstream: Upstream) -> Iterator[None]:
    """A daemon that gets the upstream's key from the server."""
    own.put("claude", key=upstream.mint.mint().text)
    place.configure(configured(own.address, *KEPT, *OFTEN, f'audience = ["{upstream.url}"]'))
    with running(place, env=ENVIRONMENT):
        yield


@pytest.mark.usefixtures("claude_key")
def test_claude_code_lives_through_a_revocation_and_a_restart_of_the_server(
    own: Company, developer: Developer, upstream: Upstream
) -> None:
    """One session, no error shown: the key is rotated after our token was revoked, and again after all were lost."""
    with developer(NEWER).session() as session:
        assert session.ask("say pong") == PONG
        own.revoke_logins()
        upstream.mint.revoke()
        own.put("claude", key=upstream.mint.mint().text)
        assert session.ask("say pong") == PONG
        own.stop()
        assert session.ask("say pong") == PONG
        own.start()
        upstream.mint.revoke()
        settle(own)
        own.put("claude", key=upstream.mint.mint().text)
        assert session.ask("say pong") == PONG
    assert {seen.key for seen in upstream.seen} == {"fake-token-1", "fake-token-2", "fake-token-3"}


def test_fifty_credentials_of_one_source_ask_for_one_login(own: Company, place: Place) -> None:
    """Cold and all at once, as after a start: one token is made at the server, and all are answered."""
    own.allow({"secret/data/*": READ})
    tables = []
    for number in range(50):
        own.put(f"c{number}", key=f"fake-token-{number}")
        tables.append(f'[credentials.c{number}]\nsource = "corp"\npath = "secret/c{number}"\n')
    place.configure(configured(own.address) + "\n".join(tables))
    with running(place, env=ENVIRONMENT), ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda number: place.call("GET", f"/v1/token?credential=c{number}"), range(50)))
        assert answers == [(200, f"fake-token-{number}".encode()) for number in range(50)]
        assert own.logins() == 1


@pytest.mark.usefixtures("claude_key")
def test_locking_the_broker_gives_our_token_back(own: Company, place: Place) -> None:
    """What a locked broker could still do at the server it should not; unlocking signs in anew."""
    assert place.call("GET", "/v1/token?credential=work") == (200, b"fake-token-1")
    assert own.logins() == 1
    assert place.call("POST", "/v1/lock")[0] == 200
    assert own.logins() == 0
    assert place.call("POST", "/v1/unlock")[0] == 200
    assert place.call("GET", "/v1/token?credential=work") == (200, b"fake-token-1")
    assert own.logins() == 1


PAUSE_S = 6.0
"""Short, for CI; `python -m tests.bench vault-paused` takes the time that was asked for."""


@pytest.mark.alone
@pytest.mark.slow
def test_a_paused_server_slows_nobody_who_has_a_key(own: Company, place: Place) -> None:
    """Its keys are old by then and a look for newer ones hangs: the median wait is at most half as long again."""
    place.configure(configured(own.address, *KEPT, *OFTEN, 'max_age = "1s"'))
    with running(place, env=ENVIRONMENT):
        before, paused = waits(own, place, PAUSE_S)
    assert statistics.median(paused) <= 1.5 * statistics.median(before)
    assert statistics.quantiles(paused, n=20)[-1] < BRIEF_S + 0.1, "nobody waits longer than the brief wait"
