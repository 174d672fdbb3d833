"""Secrets that a real OpenBao lends or signs: database users that really exist, PKI, identity tokens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.model import Issued
from broker.sources.expiry import of_jwt
from broker.sources.references import Reference
from broker.sources.vault.auth import AppRole, Token
from broker.sources.vault.settings import VaultSettings, VaultSourceSettings
from broker.sources.vault.source import VaultFetcher, VaultSource
from tests.contracts.source_contract import token_of
from tests.real import postgres as postgres_server
from tests.real.company import ENVIRONMENT, LEASED, ROLE_ID, SECRET_ID, Company, company, configured, pocket
from tests.real.conftest import Need
from tests.real.installed import Place, running
from tests.real.openbao import BAO, ROOT_TOKEN
from tests.real.postgres import ADMIN, PASSWORD, Postgres
from tests.real.process import wait_until

pytestmark = pytest.mark.real

APPROLE = AppRole(ROLE_ID, Reference(local="secret-id"))
_CREATE = "CREATE ROLE \"{{name}}\" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}';"


@pytest.fixture(scope="module")
def databases() -> Iterator[Postgres | None]:
    """A PostgreSQL server, where this machine has the programs."""
    found = postgres_server.programs()
    if found is None:
        yield None
        return
    with postgres_server.postgres(found) as server:
        yield server


@pytest.fixture
def database(need: Need, databases: Postgres | None) -> Postgres:
    """The server."""
    need(databases is not None, "PostgreSQL is missing; on Debian, as root: apt-get install postgresql")
    assert databases is not None
    return databases


@pytest.fixture
def bao(need: Need, tmp_path: Path) -> Iterator[Company]:
    """A server with a role that may use everything here."""
    need(BAO.exists(), f"{BAO} is missing")
    with company(tmp_path) as made:
        made.approle()
        made.allow(
            {
                "database/*": ["read"],
                "lent/*": ["read"],
                "pki/issue/*": ["update"],
                "identity/oidc/token/*": ["read"],
                "transit/*": ["update"],
            }
        )
        yield made


@pytest.fixture
def users(bao: Company, database: Postgres) -> Postgres:
    """Database users that live for three seconds, and for nine where they are renewed."""
    bao.mount("database", "database")
    bao.post(
        "database/config/db",
        plugin_name="postgresql-database-plugin",
        allowed_roles=["reader"],
        connection_url=f"postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{database.port}/postgres?sslmode=disable",
        username=ADMIN,
        password=PASSWORD,
    )
    bao.post("database/roles/reader", db_name="db", creation_statements=[_CREATE], default_ttl="3s", max_ttl="9s")
    return database


def opened(bao: Company) -> VaultSource:
    """Open a source."""
    return VaultSource(VaultSourceSettings(bao.address, auth=APPROLE), pocket(**{"secret-id": SECRET_ID}))


def bind(source: VaultSource, path: str, field: str | None = None, **settings: object) -> VaultFetcher:
    """Bind a path."""
    made = source.fetcher(VaultSettings(path, field, **settings), "work")  # type: ignore[arg-type]  # any setting
    assert isinstance(made, VaultFetcher)
    return made


def life_s(issued: Issued) -> float:
    """How long it has to live."""
    assert issued.expires_at is not None
    return issued.expires_at - time.time()


async def test_a_database_user_is_renewed_replaced_and_removed(bao: Company, users: Postgres) -> None:
    """One user for as long as it may live, another one before its end, and none when the broker has gone."""
    source = opened(bao)
    fetcher = bind(source, "database/creds/reader", "password")
    first = await fetcher.fetch()
    assert 2 < life_s(first) <= 3
    began = time.monotonic()
    issued, fetched = first, 1
    async with asyncio.timeout(20):
        while issued.same_secret(first):
            await asyncio.sleep(life_s(issued) * 2 / 3)
            issued = await fetcher.fetch()
            fetched += 1
            assert life_s(issued) > 1
    assert fetched > 3, "it was renewed meanwhile"
    assert time.monotonic() - began > 5
    assert len(bao.call("LIST", "sys/leases/lookup/database/creds/reader")["data"]["keys"]) == 2
    await source.close()
    assert bao.logins() == 0
    await asyncio.to_thread(wait_until, lambda: not _leases(bao, "database/creds/reader"), "the users are removed")


def _leases(bao: Company, path: str) -> list[str]:
    try:
        found: list[str] = bao.call("LIST", f"sys/leases/lookup/{path}")["data"]["keys"]
    except AssertionError:  # 404: none
        return []
    return found


async def test_a_lease_that_the_administrator_revoked_is_got_anew(bao: Company, users: Postgres) -> None:
    """At the next renewal."""
    source = opened(bao)
    fetcher = bind(source, "database/creds/reader", "password")
    first = await fetcher.fetch()
    bao.post("sys/leases/revoke-prefix/database/creds")
    second = await fetcher.fetch()
    assert not second.same_secret(first)
    await source.close()


async def test_a_lease_of_a_given_token_is_revoked_by_itself(bao: Company, users: Postgres) -> None:
    """The token is not ours to revoke."""
    settings = VaultSourceSettings(bao.address, auth=Token(Reference(local="token")))
    source = VaultSource(settings, pocket(token=ROOT_TOKEN))
    await bind(source, "database/creds/reader", "password").fetch()
    assert len(_leases(bao, "database/creds/reader")) == 1
    await source.close()
    assert not _leases(bao, "database/creds/reader")


async def test_an_identity_token_is_a_jwt_with_its_own_end(bao: Company) -> None:
    """A role of the identity engine, as a source of JWTs for something else."""
    bao.post("identity/oidc/key/claude", allowed_client_ids=["*"], rotation_period="1h", verification_ttl="1h")
    bao.post("identity/oidc/role/claude", key="claude", ttl="60s", client_id="claude")
    source = opened(bao)
    fetcher = bind(source, "identity/oidc/token/claude", "token")
    issued = await fetcher.fetch()
    assert issued.expires_at == of_jwt(token_of(issued))
    assert 50 < life_s(issued) <= 60
    assert not issued.borrowed, "nobody takes it back"
    await source.close()


async def test_a_write_gives_a_certificate_or_a_ciphertext(bao: Company) -> None:
    """PKI issues to `data`, and says when what it issued ends; transit encrypts it."""
    bao.mount("pki", "pki")
    bao.post("pki/root/generate/internal", common_name="fake.example", ttl="24h")
    bao.post("pki/roles/claude", allowed_domains=["example"], allow_subdomains=True, max_ttl="1h")
    source = opened(bao)
    issued = await bind(
        source, "pki/issue/claude", "serial_number", data={"common_name": "me.example", "ttl": "600s"}
    ).fetch()
    assert 500 < life_s(issued) <= 601
    bao.mount("transit", "transit")
    bao.post("transit/keys/claude")
    sealed = await bind(source, "transit/encrypt/claude", "ciphertext", data={"plaintext": "ZmFrZQ=="}).fetch()
    assert token_of(sealed).startswith("vault:v1:")
    await source.close()


def test_the_daemon_keeps_a_lease_alive_and_gives_it_back(bao: Company, users: Postgres, place: Place) -> None:
    """Ahead of time, with nobody asking, for as long as the server lets it; at its end nothing is left there."""
    place.configure(configured(bao.address, *LEASED, 'min_validity = "100ms"'))
    with running(place, env=ENVIRONMENT) as daemon:
        ask = {"CLAUDE_CODE_API_KEY_HELPER_TTL_MS": "100"}
        first = place.ask("work", env=ask).stdout
        assert first
        wait_until(lambda: place.credential("work")["refreshes"] >= 3, "it was renewed twice")
        assert place.ask("work", env=ask).stdout == first
        assert place.credential("work")["failures"] == 0
        assert len(_leases(bao, "database/creds/reader")) == 1
        assert daemon.stop() == 0
    assert bao.logins() == 0
    wait_until(lambda: not _leases(bao, "database/creds/reader"), "the user is removed")
