"""The `oauth` source in the flows in which nobody signs in, over a fake provider (tests/real/test_oauth.py has a real one)."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc import jwk, jwt

from broker import config
from broker.durations import Duration
from broker.errors import ConfigError, FetchError, PermanentFetchError, TransientFetchError
from broker.model import Kind
from broker.secret import Secret
from broker.sources import TYPES
from broker.sources.answer import in_one_line
from broker.sources.interface import Fetcher
from broker.sources.oauth import OAUTH
from broker.sources.oauth import provider as provider_module
from broker.sources.oauth.answer import Answer
from broker.sources.oauth.settings import OAuthSettings, OAuthSourceSettings
from broker.sources.oauth.source import OAuthSource
from broker.sources.oauth.transport import retry_after_s
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
from tests.fakes.context import FakeContext
from tests.fakes.oauth import FakeProvider, fake_provider

SECRET = "fake-client-secret with/odd+chars%"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
URN = "urn:ietf:params:oauth:token-type:"
STORED = Reference(local="client-secret")
SUBJECT = Reference(local="subject")


class Place:
    """A source at the fake provider, and its fetchers."""

    def __init__(self, idp: FakeProvider, **settings: Any) -> None:  # noqa: ANN401  # any setting
        self.idp = idp
        self.context = FakeContext()
        self.context.secrets.records |= {"client-secret": Secret(SECRET), "subject": Secret("fake-subject-1")}
        wanted = {"flow": "client-credentials", "client_id": "me", "client_secret": STORED}
        if "issuer" not in settings:
            wanted["token_url"] = f"{idp.address}/token"
        self.source = OAuthSource(OAuthSourceSettings(**{**wanted, **settings}), self.context)

    def fetcher(self, **settings: Any) -> Fetcher:  # noqa: ANN401  # any setting
        """Bind one credential."""
        return self.source.fetcher(OAuthSettings(**settings), "work")


Sources = Callable[..., Place]


@pytest.fixture
def idp() -> Iterator[FakeProvider]:
    """Give a provider."""
    with fake_provider() as idp:
        yield idp


@pytest.fixture
async def sources(idp: FakeProvider) -> AsyncIterator[Sources]:
    """Give `sources(key=...)`, which sets up a source at it."""
    made: list[Place] = []

    def sources_(**settings: Any) -> Place:  # noqa: ANN401  # any setting
        made.append(Place(idp, **settings))
        return made[-1]

    yield sources_
    idp.gate.set()
    for place in made:
        await place.source.close()


class _OAuthHarness(Harness):
    """Has the provider give a token, hang or fail."""

    def __init__(self, place: Place) -> None:
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


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
_FIELDS = st.sampled_from(["access_token", "id_token", "token_type", "expires_in", "scope", "refresh_token"])


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(_FIELDS, _JSON | st.text()), st.sampled_from(["access_token", "id_token"]))
def test_whatever_is_answered_gives_a_token_or_an_error_of_ours(fields: dict[str, Any], token: str) -> None:
    """And a token is always one that Claude Code takes, with an end that is ahead."""
    answer = Answer(fields, 1e9)
    try:
        issued = answer.issued(OAuthSettings(token=token), "https://login.example", {})  # type: ignore[arg-type]  # as sampled
    except FetchError as error:
        assert str(error).isprintable()  # noqa: PT017  # either outcome is right
    else:
        assert token_of(issued) == fields[token]
        assert issued.expires_at is None or issued.expires_at > 1e9
        assert all(text.isprintable() for text in issued.details.values())
    assert answer.refresh_token is None or answer.refresh_token.reveal() == fields["refresh_token"]


# --- what is refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "mends"),
    [
        ("invalid_client", "client_auth"),
        ("unauthorized_client", "administrator"),
        ("unsupported_grant_type", "flow"),
        ("invalid_scope", "scope"),
        ("invalid_target", "resource"),
        ("invalid_grant", "expired"),
        ("access_denied", "administrator"),
        ("whatever_else", ""),
    ],
)
async def test_an_error_answer_stays_until_somebody_acts(sources: Sources, error: str, mends: str) -> None:
    """Asked again and again, it locks the client out; the line says which endpoint, which error and what to do."""
    place = sources()
    place.idp.fail(error, "AADSTS7000215: no\x1b[2J good")
    found = await failure(place.fetcher())
    assert isinstance(found, PermanentFetchError)
    told = f"{place.idp.address}/token: get a token (client-credentials): {error} (AADSTS7000215: no good)"
    assert str(found).startswith(told)
    assert mends in str(found)


@pytest.mark.parametrize("error", ["server_error", "temporarily_unavailable"])
async def test_a_provider_in_trouble_is_tried_again(sources: Sources, error: str) -> None:
    """These two are OAuth's words for the statuses 500 and 503."""
    place = sources()
    place.idp.fail(error)
    assert isinstance(await failure(place.fetcher()), TransientFetchError)


async def test_what_was_sent_is_not_quoted(sources: Sources) -> None:
    """A provider may name what it refuses."""
    place = sources(flow="jwt-bearer")
    place.idp.fail("invalid_grant", f"'{SECRET}' or fake-subject-1 is bad")
    said = str(await failure(place.fetcher(subject_token=SUBJECT)))
    assert "fake-" not in said
    assert "invalid_grant" in said
    place.idp.fail("fake-subject-1")
    assert "fake-" not in str(await failure(place.fetcher(subject_token=SUBJECT))), "nor as the error's name"


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        ((500, {"error": "invalid_grant"}), TransientFetchError, "status 500"),
        ((503, b"busy"), TransientFetchError, "status 503"),
        ((429, {"error": "invalid_request"}), TransientFetchError, "asked too often"),
        ((401, b"<html>"), PermanentFetchError, "status 401"),
        ((404, b"<html>"), PermanentFetchError, "check `token_url`"),
        ((400, b"<html>"), TransientFetchError, "no OAuth provider's"),
        ((200, b"<html>"), TransientFetchError, "no OAuth provider's"),
        ((200, []), TransientFetchError, "no OAuth provider's"),
        ((200, b"\xff\xfe"), TransientFetchError, "no OAuth provider's"),
        ((400, {"error": {"a": 1}, "error_description": ["x"]}), PermanentFetchError, "an error"),
        ((200, {"error": "odd\x1b[2Jcode"}), PermanentFetchError, "an error"),
        ((200, b"x" * (4 * 1024 * 1024 + 1)), TransientFetchError, "has more than 4 MiB"),
    ],
)
async def test_every_odd_answer_has_its_words(
    sources: Sources, reply: tuple[int, object], kind: type[FetchError], words: str
) -> None:
    """Trouble of the network's or the server's goes away by itself, a wrong address does not."""
    place = sources()
    place.idp.script["/token"] = reply
    error = await failure(place.fetcher())
    assert isinstance(error, kind)
    assert words in str(error)


async def test_a_provider_may_say_when_to_come_back(sources: Sources) -> None:
    """In seconds, here."""
    place = sources()
    place.idp.headers["Retry-After"] = "17"
    place.idp.script["/token"] = (429, {})
    error = await failure(place.fetcher())
    assert isinstance(error, TransientFetchError)
    assert error.retry_after_s == 17


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text())
def test_any_retry_after_is_a_pause_or_none(text: str) -> None:
    """Whatever stands there."""
    assert 0 <= retry_after_s(text, 0.0) < 1e12


def test_a_date_to_come_back_at_is_read() -> None:
    """RFC 9110 has both forms."""
    assert retry_after_s("Thu, 01 Jan 1970 00:01:40 GMT", 40.0) == 60.0


async def test_no_secret_follows_a_redirect(sources: Sources, idp: FakeProvider) -> None:
    """A sign-in page before the network, or somebody who would like to have it."""
    with fake_provider() as other:
        idp.headers["Location"] = f"{other.address}/token"
        idp.script["/token"] = (307, b"")
        error = await failure(sources().fetcher())
        assert "no secret follows" in str(error)
        assert not other.calls


async def test_nothing_there_is_said_and_comes_back(sources: Sources) -> None:
    """The address may be right, and the network gone."""
    place = sources(token_url="http://127.0.0.1:1/token")
    error = await failure(place.fetcher())
    assert isinstance(error, TransientFetchError)
    assert "nothing listens there" in str(error)
    assert "`token_url`" in str(error)


# --- where the endpoints are ------------------------------------------------------------------------------------


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


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_JSON)
def test_any_metadata_is_taken_or_refused(document: object) -> None:
    """As no metadata of this issuer."""
    from broker.sources.oauth import metadata  # noqa: PLC0415  # beside the strategy that it is for

    settings = OAuthSourceSettings(flow="client-credentials", client_id="me", issuer="https://login.example")
    with pytest.raises(PermanentFetchError):
        metadata.read(document, settings)
    if isinstance(document, dict):
        found = metadata.read({**document, "issuer": "https://login.example"}, settings)
        assert not found.endpoints


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


# --- the config -------------------------------------------------------------------------------------------------

GOOD = {"flow": "client-credentials", "client_id": "me", "token_url": "https://login.example/token"}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"token_url": None}, "token_url is missing"),
        ({"flow": "device"}, "device_url is missing"),
        ({"flow": "authorization-code"}, "authorize_url is missing"),
        ({"token_url": "http://login.example/token"}, "token_url must be https"),
        ({"token_url": "https://login.example/token#x"}, "token_url must be a URL"),
        ({"issuer": "login.example"}, "issuer must be a URL"),
        ({"client_id": ""}, "client_id must be"),
        ({"client_auth": "basic"}, "client_secret belongs to"),
        ({"client_auth": "none", "client_secret": STORED}, "client_secret belongs to"),
        ({"client_auth": "private_key_jwt"}, "private_key belongs to"),
        ({"client_auth": "mtls"}, "needs client_cert"),
        ({"client_cert": "/c.pem"}, "belong together"),
        ({"client_cert": "c.pem", "client_key": "k.pem"}, "absolute path"),
        ({"key_id": "k"}, "key_id belongs to"),
        ({"login_scope": "a  b"}, "single blanks"),
        ({"redirect_uri": "https://evil.example/"}, "page of this machine"),
        ({"authorize_params": {"state": "x"}}, "to the broker"),
        ({"authorize_params": {"prompt": 1}}, "must be texts"),
    ],
)
def test_a_source_that_cannot_work_is_a_config_error(wrong: dict[str, Any], words: str) -> None:
    """Said when the config is read, without a value."""
    with pytest.raises(ValueError, match=words):
        OAuthSourceSettings(**{**GOOD, **wrong})


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"scope": "a\nb"}, "single blanks"),
        ({"scope": ""}, "single blanks"),
        ({"resource": "gateway"}, "absolute URI"),
        ({"resource": "https://[x"}, "absolute URI"),
        ({"resource": "https://gateway.example/#x"}, "absolute URI"),
        ({"subject_token_type": "token"}, "must be a URI, or one of"),
    ],
)
def test_a_credential_that_cannot_work_is_a_config_error(wrong: dict[str, Any], words: str) -> None:
    """Likewise."""
    with pytest.raises(ValueError, match=words):
        OAuthSettings(**wrong)


def test_a_plain_address_is_believed_where_somebody_insists() -> None:
    """Or on this machine."""
    plain = {"token_url": "http://login.example/token?tenant=1"}
    assert OAuthSourceSettings(**{**GOOD, **plain, "allow_http": True}).token_url == plain["token_url"]  # type: ignore[arg-type]  # as in the config
    OAuthSourceSettings(**{**GOOD, "token_url": "http://[::1]:9/token"})  # type: ignore[arg-type]  # as in the config


async def test_a_config_as_people_write_it_serves(idp: FakeProvider, tmp_path: Path) -> None:
    """From its text to the token."""
    text = f"""
    [sources.gateway]
    type = "oauth"
    flow = "client-credentials"
    token_url = "{idp.address}/token"
    client_id = "claude-code"
    client_secret = {{ local = "gateway" }}
    token_audience = "https://gateway.example/"
    timeout = "5s"

    [credentials.work]
    source = "gateway"
    scope = "models.read"
    """
    read = config.parse(text, tmp_path / "config.toml", TYPES)
    context = FakeContext()
    context.secrets.records["gateway"] = Secret(SECRET)
    source, credential = read.sources["gateway"], read.credentials["work"]
    opened = source.type.open(source.settings, context)
    assert token_of(await opened.fetcher(credential.settings, "work").fetch()).startswith("fake-access-")
    assert idp.basic == ("claude-code", SECRET)
    assert credential.timing.max_age_s == 300, "a token without an end is not kept for ever"
    await opened.close()


def test_a_secret_in_the_config_itself_is_refused(tmp_path: Path) -> None:
    """And not quoted."""
    text = '[sources.gateway]\ntype = "oauth"\nflow = "device"\nissuer = "https://x/"\nclient_id = "me"\n'
    with pytest.raises(ConfigError) as caught:
        config.parse(text + 'client_secret = "fake-client-secret"\n', tmp_path / "config.toml", TYPES)
    assert "client_secret" in str(caught.value)
    assert "fake-" not in str(caught.value)


async def test_a_provider_that_does_not_answer_is_given_up_on(sources: Sources) -> None:
    """After the source's time-out."""
    place = sources(timeout=Duration(0.05))
    place.idp.gate.clear()
    assert "no answer within 0.05 s" in str(await failure(place.fetcher()))


@pytest.mark.parametrize("token", ["fake\ntoken", "fake-t\u00f6ken"])
async def test_a_subject_that_is_no_token_is_said(sources: Sources, token: str) -> None:
    """Before it is sent, and without it."""
    place = sources(flow="jwt-bearer", client_secret=None)
    place.context.tokens["other"] = Secret(token)
    error = await failure(place.fetcher(subject_token=Reference(credential="other")))
    assert "subject_token is no token" in str(error)
    assert not place.idp.calls


def test_serving_something_else_loads_no_oauth_library() -> None:
    """They weigh 20 MB."""
    code = "import sys, broker.sources; print([m for m in ('authlib', 'joserfc', 'requests') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
