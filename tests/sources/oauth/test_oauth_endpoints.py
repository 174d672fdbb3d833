"""Where a provider's endpoints are: as the config says, or as the provider says of itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from broker.errors import PermanentFetchError
from broker.sources.oauth import provider as provider_module
from broker.sources.oauth.settings import OAuthSourceSettings
from tests.contracts.source_contract import failure
from tests.fakes.oauth import FakeProvider
from tests.sources.oauth.conftest import Sources


def described(idp: FakeProvider, **more: Any) -> str:  # noqa: ANN401  # JSON
    """Have the provider tell of itself; return its issuer."""
    idp.metadata = {"issuer": idp.address, "token_endpoint": f"{idp.address}/token", **more}
    return idp.address


async def test_an_issuer_says_where_its_endpoints_are(sources: Sources, idp: FakeProvider) -> None:
    """Asked once, however many credentials there are."""
    place = sources(issuer=described(idp))
    await asyncio.gather(*(place.fetcher().fetch() for _ in range(5)))
    assert idp.calls == {"/.well-known/openid-configuration": 1, "/token": 5}


async def test_the_older_way_to_ask_an_issuer_works_too(sources: Sources, idp: FakeProvider) -> None:
    """RFC 8414, for providers that do not speak OpenID Connect."""
    idp.script["/.well-known/openid-configuration"] = (404, b"")
    await sources(issuer=described(idp)).fetcher().fetch()
    assert idp.calls["/.well-known/oauth-authorization-server"] == 1


async def test_endpoints_that_moved_are_found(
    sources: Sources, idp: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while; while the issuer cannot be asked, the old ones are used."""
    place = sources(issuer=described(idp))
    fetcher = place.fetcher()
    await fetcher.fetch()
    monkeypatch.setattr(provider_module, "METADATA_S", -1.0)
    idp.script["/.well-known/openid-configuration"] = (500, b"")
    await fetcher.fetch()
    del idp.script["/.well-known/openid-configuration"]
    described(idp, token_endpoint=f"{idp.address}/moved")
    assert "/moved" in str(await failure(fetcher))


async def test_another_provider_s_metadata_is_not_believed(sources: Sources, idp: FakeProvider) -> None:
    """To the letter: a slash at the end is another issuer."""
    described(idp)
    idp.metadata["issuer"] += "/"
    error = await failure(sources(issuer=idp.address).fetcher())
    assert "write `issuer` exactly so" in str(error)
    assert not idp.calls["/token"]


@pytest.mark.parametrize(
    "endpoint",
    ["http://login.example/token", "ftp://x/", "", 7, "https://u:p@login.example/", "https://x/\u00e4", None],
)
async def test_no_secret_goes_to_an_endpoint_in_the_open(sources: Sources, idp: FakeProvider, endpoint: object) -> None:
    """Whatever the metadata says."""
    error = await failure(sources(issuer=described(idp, token_endpoint=endpoint)).fetcher())
    assert isinstance(error, PermanentFetchError)
    assert "token_url" in str(error) or "token_endpoint" in str(error)


async def test_an_issuer_without_metadata_is_told(sources: Sources, idp: FakeProvider) -> None:
    """And where was looked."""
    error = await failure(sources(issuer=idp.address).fetcher())
    assert isinstance(error, PermanentFetchError)
    assert "neither at" in str(error)


async def test_a_certificate_has_endpoints_of_its_own(idp: FakeProvider) -> None:
    """Where mutual TLS is spoken at another address (RFC 8705, 5)."""
    from broker.sources.oauth import metadata  # noqa: PLC0415  # as above

    document = {
        "issuer": "https://login.example",
        "token_endpoint": "https://login.example/token",
        "mtls_endpoint_aliases": {"token_endpoint": "https://mtls.login.example/token", "other": 7},
    }
    plain = {"flow": "client-credentials", "client_id": "me", "issuer": "https://login.example"}
    for more, expected in [({}, "login"), ({"client_cert": "/c.pem", "client_key": "/k.pem"}, "mtls.login")]:
        made = OAuthSourceSettings(**plain, **more)  # type: ignore[arg-type]  # as in the config
        assert metadata.read(document, made).endpoints["token_url"] == f"https://{expected}.example/token"


def test_addresses_of_metadata_keep_the_issuer_s_path() -> None:
    """OpenID Connect appends, RFC 8414 inserts."""
    from broker.sources.oauth import metadata  # noqa: PLC0415  # as above

    assert metadata.addresses("https://login.example/realms/dev/") == (
        "https://login.example/realms/dev/.well-known/openid-configuration",
        "https://login.example/.well-known/oauth-authorization-server/realms/dev",
    )
