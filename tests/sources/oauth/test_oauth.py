"""The `oauth` source in the flows in which nobody signs in, over a fake provider (tests/real/test_oauth.py has a real one)."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc import jwk, jwt

from broker.errors import PermanentFetchError, TransientFetchError
from broker.model import Kind
from broker.secret import Secret
from broker.sources.answer import in_one_line
from broker.sources.interface import Fetcher
from broker.sources.oauth import OAUTH
from broker.sources.oauth.settings import OAuthSettings
from broker.sources.references import Reference
from tests.contracts.source_contract import (
    VALUE,
    Harness,
    SourceOfValues,
    SourceThatFails,
    SourceThatWaits,
    failure,
    token_of,
)
from tests.contracts.source_contract import jwt as unsigned_jwt
from tests.sources.oauth.conftest import Sources
from tests.sources.oauth.place import SECRET, Client

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
URN = "urn:ietf:params:oauth:token-type:"
SUBJECT = Reference(local="subject")


class _OAuthHarness(Harness):
    """Has the provider give a token, hang or fail."""

    def __init__(self, place: Client) -> None:
        self._idp = place.idp
        self._fetcher = place.fetcher()
        self.give(VALUE)

    def fetcher(self) -> Fetcher:
        return self._fetcher

    def give(self, text: str) -> None:
        self._idp.answer = {"access_token": text}

    def remove(self) -> None:
        self._idp.answer = {"other": "fake-other"}

    def hang(self) -> None:
        self._idp.gate.clear()

    def release(self) -> None:
        self._idp.gate.set()

    def fail(self, saying: str) -> None:
        self._idp.fail("invalid_request", saying)


class TestOAuth(SourceOfValues, SourceThatWaits, SourceThatFails):
    """It keeps the contract."""

    @pytest.fixture
    def harness(self, sources: Sources) -> Harness:
        """Give a client that acts for itself."""
        return _OAuthHarness(sources())


# --- what is asked ----------------------------------------------------------------------------------------------


async def test_client_credentials_name_what_the_token_is_for(sources: Sources) -> None:
    """Scope and resource of the credential, audience of the source."""
    place = sources(token_audience="https://api.example")
    await place.fetcher(scope="a b", resource="https://gateway.example/").fetch()
    assert place.idp.form == {
        "grant_type": "client_credentials",
        "scope": "a b",
        "resource": "https://gateway.example/",
        "audience": "https://api.example",
    }
    assert place.idp.basic == ("me", SECRET)


async def test_credentials_of_one_source_have_tokens_of_their_own(sources: Sources) -> None:
    """Each with its own scope, fetched at the same time."""
    place = sources()
    place.idp.gate.clear()
    both = asyncio.gather(*(place.fetcher(scope=scope).fetch() for scope in ("a", "b")))
    async with asyncio.timeout(5):
        while place.idp.calls["/token"] < 2:
            await asyncio.sleep(0.005)
    place.idp.gate.set()
    one, other = await both
    assert token_of(one) != token_of(other)
    assert sorted(form["scope"] for form in place.idp.forms) == ["a", "b"]


async def test_a_secret_in_the_form_is_sent_there_alone(sources: Sources) -> None:
    """`client_auth = "post"`."""
    place = sources(client_auth="post")
    await place.fetcher().fetch()
    assert (place.idp.form["client_id"], place.idp.form["client_secret"]) == ("me", SECRET)
    assert place.idp.basic is None


async def test_a_client_without_a_secret_says_who_it_is(sources: Sources) -> None:
    """A public client."""
    place = sources(client_secret=None)
    await place.fetcher().fetch()
    assert (place.idp.form["client_id"], place.idp.basic) == ("me", None)


@pytest.mark.parametrize("form", ["pem", "jwk"])
@pytest.mark.parametrize("algorithm", ["RS256", "PS384", "ES256"])
async def test_a_key_signs_a_short_lived_assertion(sources: Sources, algorithm: str, form: str) -> None:
    """`private_key_jwt` (RFC 7523, 3): for this endpoint, once, for minutes; the key never leaves."""
    key = rsa.generate_private_key(65537, 2048) if algorithm[0] != "E" else ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    known = jwk.import_key(pem, "EC" if algorithm[0] == "E" else "RSA")
    place = sources(client_secret=None, private_key=Reference(local="key"), key_algorithm=algorithm, key_id="k1")
    written = pem if form == "pem" else json.dumps(known.as_dict(private=True), indent=1)
    place.context.secrets.records["key"] = Secret(in_one_line(written))  # as `broker secret set` has it
    fetcher = place.fetcher()
    await fetcher.fetch()
    await fetcher.fetch()
    seen = [jwt.decode(form["client_assertion"], known, [algorithm]) for form in place.idp.forms]
    claims = seen[0].claims
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("me", "me", f"{place.idp.address}/token")
    assert 0 < claims["exp"] - time.time() <= 120
    assert seen[0].header["kid"] == "k1"
    assert len({each.claims["jti"] for each in seen}) == 2


@pytest.mark.parametrize("text", ["fake-no-key", "{", '{"kty": "oct", "k": "AAAA"}', "{}", "PUBLIC"])
async def test_what_is_no_key_is_said_and_not_shown(sources: Sources, text: str) -> None:
    """Nor is a public key one."""
    if text == "PUBLIC":
        text = json.dumps(jwk.RSAKey.generate_key(2048).as_dict(private=False))
    place = sources(client_secret=None, private_key=Reference(local="key"))
    place.context.secrets.records["key"] = Secret(text)
    error = await failure(place.fetcher())
    assert isinstance(error, PermanentFetchError)
    assert str(error).startswith("private_key is no private key")


async def test_a_key_of_another_curve_than_the_algorithms_is_said(sources: Sources) -> None:
    """Before anything is sent, and with what mends it."""
    place = sources(client_secret=None, private_key=Reference(local="key"), key_algorithm="ES384")
    place.context.secrets.records["key"] = Secret(json.dumps(jwk.ECKey.generate_key("P-256").as_dict(private=True)))
    error = await failure(place.fetcher())
    assert isinstance(error, PermanentFetchError)
    assert "for ES384; check it and key_algorithm" in str(error)
    assert not place.idp.forms


@pytest.mark.slow
def test_a_key_out_of_favour_puts_no_warning_of_pythons_into_the_log() -> None:
    """The provider chose it."""
    key = json.dumps(jwk.OKPKey.generate_key("Ed25519").as_dict(private=True))
    code = f"from broker.sources.oauth.client import signing_key; signing_key({key!r}, 'EdDSA')"
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert made.stderr == ""


async def test_an_exchange_shows_both_tokens_with_their_types(sources: Sources) -> None:
    """RFC 8693."""
    place = sources(flow="token-exchange", token_audience="gateway")
    place.context.tokens["other"] = Secret("fake-actor-1")
    place.idp.extra = {"token_type": "N_A", "issued_token_type": f"{URN}access_token", "expires_in": 60}
    fetcher = place.fetcher(
        subject_token=SUBJECT,
        subject_token_type="id_token",
        actor_token=Reference(credential="other"),
        actor_token_type="urn:example:actor",
        requested_token_type="access_token",
    )
    await fetcher.fetch()
    assert place.idp.form == {
        "grant_type": EXCHANGE,
        "audience": "gateway",
        "subject_token": "fake-subject-1",
        "subject_token_type": f"{URN}id_token",
        "actor_token": "fake-actor-1",
        "actor_token_type": "urn:example:actor",
        "requested_token_type": f"{URN}access_token",
    }


async def test_an_assertion_is_shown_as_it_is_now(sources: Sources) -> None:
    """RFC 7523: read anew at each try, as it lives for minutes."""
    place = sources(flow="jwt-bearer", client_secret=None)
    fetcher = place.fetcher(subject_token=SUBJECT, scope="a")
    await fetcher.fetch()
    assert place.idp.form == {
        "grant_type": BEARER,
        "assertion": "fake-subject-1",
        "scope": "a",
        "client_id": "me",
    }
    place.context.secrets.records["subject"] = Secret("fake-subject-2")
    await fetcher.fetch()
    assert place.idp.form["assertion"] == "fake-subject-2"


async def test_a_token_to_show_belongs_to_its_flows(sources: Sources) -> None:
    """Else it would be left out in silence."""
    assert "needs subject_token" in str(await failure(sources(flow="jwt-bearer").fetcher()))
    assert "belong to the flows" in str(await failure(sources().fetcher(subject_token=SUBJECT)))


async def test_a_new_subject_is_no_news_unless_the_last_try_failed(sources: Sources) -> None:
    """Kubernetes writes a new one each hour; but where the old one was refused, the new one mends it at once."""
    place = sources(flow="jwt-bearer", client_secret=None)
    fetcher = place.fetcher(subject_token=SUBJECT)
    await fetcher.fetch()
    place.context.secrets.records["subject"] = Secret("fake-subject-2")
    assert not fetcher.changed()
    place.idp.fail("invalid_grant", "expired")
    await failure(fetcher)
    assert not fetcher.changed()
    place.context.secrets.records["subject"] = Secret("fake-subject-3")
    assert fetcher.changed()


async def test_a_new_client_secret_is_news(sources: Sources) -> None:
    """The old one may be revoked soon."""
    place = sources()
    fetcher = place.fetcher()
    await fetcher.fetch()
    place.context.secrets.records["client-secret"] = Secret("fake-client-secret-2")
    assert fetcher.changed()


# --- what is answered -------------------------------------------------------------------------------------------


async def test_the_lifetime_is_the_provider_s(sources: Sources) -> None:
    """From when we asked: the way of the answer is not added to it."""
    place = sources()
    place.idp.extra |= {"expires_in": 600, "scope": "a b"}
    before = time.time()
    issued = await place.fetcher().fetch()
    assert issued.expires_at is not None
    assert before + 600 <= issued.expires_at <= time.time() + 600
    assert issued.details == {"issuer": place.idp.address.removeprefix("http://"), "scope": "a b"}
    assert issued.kind is Kind.API_KEY


async def test_an_id_token_can_be_the_token(sources: Sources) -> None:
    """With its own end, not the access token's."""
    end = float(int(time.time()) + 300)
    place = sources()
    place.idp.answer = {"access_token": "fake-access", "id_token": unsigned_jwt(end), "expires_in": 3600}
    issued = await place.fetcher(token="id_token").fetch()
    assert (token_of(issued), issued.expires_at, issued.kind) == (unsigned_jwt(end), end, Kind.ID_TOKEN)
    assert OAUTH.kind(OAuthSettings(token="id_token")) is Kind.ID_TOKEN
    del place.idp.answer["id_token"]
    assert "add openid" in str(await failure(place.fetcher(token="id_token")))


@pytest.mark.parametrize("type_", ["DPoP", "mac", 7])
async def test_a_token_that_is_bound_to_a_key_is_none_for_others(sources: Sources, type_: object) -> None:
    """Claude Code sends it as a bearer's."""
    place = sources()
    place.idp.extra = {"token_type": type_}
    assert "no bearer token" in str(await failure(place.fetcher()))


@pytest.mark.parametrize("lifetime", [-1, 0, True, [], {}, "soon", 1e300, "-5"])
async def test_an_odd_lifetime_is_an_error_of_the_provider_s(sources: Sources, lifetime: object) -> None:
    """Not a token that is kept for ever."""
    place = sources()
    place.idp.extra["expires_in"] = lifetime
    assert isinstance(await failure(place.fetcher()), TransientFetchError)
