"""The `oauth` source at real providers: npm's oidc-provider, whose refresh tokens are good once, and OpenBao."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import trustme
from joserfc import jwk

from broker.secret import Secret
from broker.sources.oauth.settings import OAuthSettings, OAuthSourceSettings
from broker.sources.oauth.source import OAuthSource
from broker.sources.references import Reference
from tests.contracts.source_contract import failure, token_of
from tests.fakes.context import FakeContext
from tests.fakes.handed_key import hand_key
from tests.real.company import Company, company
from tests.real.conftest import Need
from tests.real.installed import BIN, BROKER, Place, running
from tests.real.openbao import BAO
from tests.real.ports import free_port
from tests.real.process import DEADLINE_S, wait_until
from tests.real.provider import API, CLIENTS, SECRET, Provider, available, machine, provider

pytestmark = pytest.mark.real

KEY: Final = jwk.ECKey.generate_key("P-256", {"kid": "k1", "alg": "ES256", "use": "sig"})
SIGNING: Final = machine(
    "signing", token_endpoint_auth_method="private_key_jwt", jwks={"keys": [KEY.as_dict(private=False)]}
)
CERTIFIED: Final = machine(
    "certified", token_endpoint_auth_method="tls_client_auth", tls_client_auth_san_dns="claude.example"
)
STORED: Final = Reference(local="secret")
PASSWORD: Final = "fake-password"


@pytest.fixture(scope="module")
def shared() -> Iterator[Provider]:
    """A provider for all tests."""
    with provider([*CLIENTS, {key: value for key, value in SIGNING.items() if key != "client_secret"}]) as made:
        yield made


@pytest.fixture
def idp(need: Need, request: pytest.FixtureRequest) -> Provider:
    """The provider, prompt."""
    need(available(), "node or npm's oidc-provider is missing")
    made: Provider = request.getfixturevalue("shared")
    made.told(late_ms=0)
    return made


def source(issuer: str, secret: str = SECRET, **settings: Any) -> OAuthSource:  # noqa: ANN401  # any setting
    """Set up a source of a client that acts for itself."""
    context = FakeContext()
    context.secrets.records |= {"secret": Secret(secret)}
    wanted = {"flow": "client-credentials", "client_id": "machine", "client_secret": STORED, **settings}
    return OAuthSource(OAuthSourceSettings(issuer=issuer, **wanted), context)


async def token(source: OAuthSource, **settings: Any) -> str:  # noqa: ANN401  # any setting
    """Fetch one."""
    try:
        return token_of(await source.fetcher(OAuthSettings(**settings), "work").fetch())
    finally:
        await source.close()


# --- a client that acts for itself ------------------------------------------------------------------------------


async def test_every_way_to_show_who_we_are_is_taken(idp: Provider) -> None:
    """By a secret in the header or the form, and by a key."""
    assert idp.accepts(await token(source(idp.issuer)))
    assert idp.accepts(await token(source(idp.issuer, client_id="posting", client_auth="post")))
    signing = {"client_id": "signing", "client_secret": None, "private_key": STORED, "key_algorithm": "ES256"}
    key = json.dumps(KEY.as_dict(private=True))
    assert idp.accepts(await token(source(idp.issuer, key, key_id="k1", **signing)))
    wrong = source(idp.issuer, "fake-wrong")
    assert "invalid_client" in str(await failure(wrong.fetcher(OAuthSettings(), "work")))
    await wrong.close()


async def test_a_token_is_for_what_was_asked(idp: Provider) -> None:
    """`resource` and `scope`; what there is not is told."""
    got = await token(source(idp.issuer), scope="models.read", resource=API)
    claims = json.loads(base64.urlsafe_b64decode(got.split(".")[1] + "=="))
    assert (claims["aud"], claims["scope"]) == (API, "models.read")
    asked = source(idp.issuer).fetcher(OAuthSettings(resource="https://other.example/"), "work")
    assert "invalid_target" in str(await failure(asked))


async def test_a_token_is_exchanged_for_another(idp: Provider) -> None:
    """By RFC 8693, and as an assertion by RFC 7523."""
    first = await token(source(idp.issuer))
    for flow in ("token-exchange", "jwt-bearer"):
        exchanging = source(idp.issuer, flow=flow, token_audience="gateway")
        exchanging._context.secrets.records["subject"] = Secret(first)  # type: ignore[attr-defined]  # a fake one
        assert idp.accepts(await token(exchanging, subject_token=Reference(local="subject")))
    assert [exchange["audience"] for exchange in idp.told()["exchanges"][-2:]] == ["gateway", "gateway"]


async def test_a_certificate_shows_who_we_are(need: Need, tmp_path: Path) -> None:
    """Mutual TLS (RFC 8705), under a company's own authority; nobody else's certificate does."""
    need(available(), "node or npm's oidc-provider is missing")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name in ("claude.example", "other.example"):
        made = authority.issue_cert(name)
        made.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
        made.private_key_pem.write_to_path(tmp_path / f"{name}.key")
    server = authority.issue_cert("127.0.0.1")
    tls = {
        "key": server.private_key_pem.bytes().decode(),
        "cert": server.cert_chain_pems[0].bytes().decode(),
        "ca": authority.cert_pem.bytes().decode(),
    }
    clients = [{key: value for key, value in CERTIFIED.items() if key != "client_secret"}]
    with provider(clients, tls=tls) as idp:

        def shown(name: str) -> OAuthSource:
            files = {"client_cert": str(tmp_path / f"{name}.pem"), "client_key": str(tmp_path / f"{name}.key")}
            ca_cert = str(tmp_path / "ca.pem")
            return source(idp.issuer, client_id="certified", client_secret=None, ca_cert=ca_cert, **files)

        assert idp.accepts(await token(shown("claude.example")))
        stranger = shown("other.example")
        assert "invalid_client" in str(await failure(stranger.fetcher(OAuthSettings(), "work")))
        await stranger.close()


# --- a person ---------------------------------------------------------------------------------------------------


def configured(place: Place, issuer: str, flow: str, **more: str) -> dict[str, str]:
    """Write the config, and a key for what is stored, as the service manager hands it over."""
    lines = "".join(f'{name} = "{value}"\n' for name, value in {"client_id": "person", **more}.items())
    place.configure(f"""
[sources.gateway]
type = "oauth"
flow = "{flow}"
issuer = "{issuer}"
{lines}
[credentials.work]
source = "gateway"
scope = "openid"
refresh_interval_min = "1ms"
""")
    return hand_key(place.folder)


def login(place: Place, act: Any) -> str:  # noqa: ANN401  # of the address that is shown
    """Run `broker login`, do what it says, and return all that it said."""
    env = {**place.env, "HOME": str(place.folder), "PATH": f"{BIN}:/usr/bin:/bin"}
    said = place.folder / "said"
    with said.open("w") as stderr:
        process = subprocess.Popen(
            [str(BROKER), "login", "gateway", "--no-browser"],
            env=env,
            stdin=subprocess.DEVNULL,
            stderr=stderr,
            stdout=stderr,
        )
    try:
        wait_until(lambda: "Waiting" in said.read_text(), "the address is shown")
        found = re.search(r"https?://\S+", said.read_text())
        assert found is not None
        act(found[0])
        assert process.wait(DEADLINE_S) == 0, said.read_text()
    finally:
        process.kill()
        process.wait()
    return said.read_text()


def visit(url: str) -> None:
    """Open a page of this machine, as the browser does that is sent back."""
    import urllib.request  # noqa: PLC0415  # here alone

    with urllib.request.urlopen(url, timeout=DEADLINE_S) as answer:  # noqa: S310  # the loopback
        assert answer.status == 200


def refreshed(place: Place) -> dict[str, Any]:
    """Have it fetched anew."""
    status, body = place.call("POST", "/v1/refresh", {"credential": "work"})
    assert status == 200, body
    told: dict[str, Any] = json.loads(body)
    return told


def test_a_sign_in_by_device_code_lasts_over_restarts_and_ends_when_asked(place: Place, idp: Provider) -> None:
    """Each refresh spends one token and stores the next; the last one is revoked."""
    env = configured(place, idp.issuer, "device")
    before = idp.told()
    with running(place, env=env):
        asked = place.ask("work")
        assert (asked.returncode, "broker login gateway" in asked.stderr) == (77, True)
        assert login(place, idp.confirm).endswith("signed in to gateway\n")
        wait_until(lambda: place.credential("work")["state"] == "fresh", "work is fresh")
    with running(place, env=env):
        assert refreshed(place)["state"] == "fresh"
        last = place.ask("work").stdout.strip()
        assert idp.accepts(last)
        kept = (place.folder / "state" / "cache.bin").read_bytes()
        assert last.encode() not in kept
        assert place.call("POST", "/v1/logout", {"source": "gateway"})[0] == 200
        assert place.ask("work").returncode == 77
    assert not idp.accepts(last), "the provider was told"
    after = idp.told()
    assert (after["rotations"] - before["rotations"], after["reuses"]) == (1, 0)
    assert not list((place.folder / "state").glob("*.sealed"))


def test_a_kill_between_the_answer_and_our_store_loses_nothing(place: Place, idp: Provider) -> None:
    """The provider has spent the old refresh token, and the daemon is dead before it has the new one."""
    env = configured(place, idp.issuer, "authorization-code")
    with running(place, env=env) as daemon:
        login(place, lambda url: visit(idp.agree(url)))
        assert refreshed(place)["state"] == "fresh"
        rotations = idp.told(late_ms=700)["rotations"]
        with subprocess.Popen(
            [str(BROKER), "refresh", "work"], env={**os.environ, **place.env}, stderr=subprocess.DEVNULL
        ) as asking:
            wait_until(lambda: idp.told()["rotations"] > rotations, "the provider has spent it")
            daemon.kill()
            assert asking.wait(DEADLINE_S) != 0
    idp.told(late_ms=0)
    with running(place, env=env):
        assert refreshed(place)["state"] == "fresh"
        assert idp.accepts(place.ask("work").stdout.strip())
    told = idp.told()
    assert (told["rotations"] - rotations, told["reuses"]) == (2, 0)
    assert "took in a refresh that was under way" in (place.folder / "daemon.stderr").read_text()


def test_a_sign_in_by_browser_comes_back_to_a_page_of_this_machine(place: Place, idp: Provider) -> None:
    """With PKCE, which this provider insists on."""
    env = configured(place, idp.issuer, "authorization-code")
    with running(place, env=env):
        login(place, lambda url: visit(idp.agree(url)))
        assert idp.accepts(place.ask("work").stdout.strip())
        assert refreshed(place)["state"] == "fresh"
    assert idp.told()["reuses"] == 0


def test_openbao_s_identity_provider_signs_in_too(need: Need, place: Place, tmp_path: Path) -> None:
    """It gives no refresh tokens: its token serves as long as it lives, and the id_token may be the credential."""
    need(BAO.exists(), f"{BAO} is missing")
    with company(tmp_path) as bao:
        callback = f"http://localhost:{free_port()}/callback"
        client_id = _openbao_client(bao, callback)
        issuer = f"{bao.address}/v1/identity/oidc/provider/default"
        env = configured(place, issuer, "authorization-code", client_id=client_id, redirect_uri=callback)
        place.configure(place.config.read_text() + 'token = "id_token"\n')

        def agree(url: str) -> None:
            query = urlsplit(url).query
            person = bao.call("POST", "auth/userpass/login/me", {"password": PASSWORD})["auth"]["client_token"]
            path = "identity/oidc/provider/default/authorize"
            answer = bao.call("GET", f"{path}?{query}", token=person)
            back = parse_qs(query)["redirect_uri"][0]
            visit(f"{back}?{urlencode({'code': answer['code'], 'state': answer['state']})}")

        with running(place, env=env):
            assert "lasts until the daemon stops" in login(place, agree)
            status, given = place.call("GET", "/v1/token?credential=work")
            assert (status, given[:3]) == (200, b"eyJ")
            assert place.credential("work")["kind"] == "id-token"


def _openbao_client(bao: Company, callback: str) -> str:
    bao.enable("userpass")
    bao.post("auth/userpass/users/me", password=PASSWORD)
    bao.post("identity/oidc/key/broker", allowed_client_ids=["*"])
    bao.post(
        "identity/oidc/client/broker",
        key="broker",
        assignments=["allow_all"],
        redirect_uris=[callback],
        client_type="public",
    )
    client_id: str = bao.call("GET", "identity/oidc/client/broker")["data"]["client_id"]
    return client_id
