"""Every way to sign in that a real OpenBao has, over TLS where that matters."""

from __future__ import annotations

import base64
import json
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from broker.errors import PermanentFetchError, TransientFetchError
from broker.sources.references import Reference
from broker.sources.vault.auth import AppRole, Auth, Cert, Jwt, Kubernetes, Token, TokenFile, UserPass
from broker.sources.vault.settings import VaultSettings, VaultSourceSettings
from broker.sources.vault.source import VaultSource
from tests.contracts.source_contract import VALUE, failure, token_of
from tests.real.company import READ, ROLE_ID, SECRET_ID, Company, company, pocket
from tests.real.conftest import Need
from tests.real.openbao import BAO, ROOT_TOKEN
from tests.real.ports import free_port

pytestmark = pytest.mark.real

SECRET = Reference(local="secret")


@dataclass(frozen=True)
class Tls:
    """The company's certificate authority, its server's second address, and a developer's certificate."""

    folder: Path
    authority: trustme.CA
    port: int

    @property
    def settings(self) -> dict[str, str]:
        """What a source needs to trust the server."""
        return {"address": f"https://localhost:{self.port}", "ca_cert": str(self.folder / "ca.pem")}

    @property
    def client(self) -> dict[str, str]:
        """What a source needs to be known there."""
        return {"client_cert": str(self.folder / "me.pem"), "client_key": str(self.folder / "me.key")}


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    """Make the certificates, and the server's config for them."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    server = authority.issue_cert("localhost", "vault.example")
    server.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    me = authority.issue_cert("me.example", common_name="me.example")
    me.private_key_pem.write_to_path(folder / "me.key")
    me.cert_chain_pems[0].write_to_path(folder / "me.pem")
    port = free_port()
    (folder / "bao.hcl").write_text(
        f'listener "tcp" {{\n  address = "127.0.0.1:{port}"\n  tls_cert_file = "{folder}/server.pem"\n'
        f'  tls_key_file = "{folder}/server.pem"\n}}\n'
    )
    return Tls(folder, authority, port)


@pytest.fixture(scope="module")
def shared(tls: Tls) -> Iterator[Company]:
    """A server with every method."""
    with company(tls.folder, tls.folder / "bao.hcl") as made:
        made.approle()
        made.allow({"secret/data/claude": READ})
        made.put("claude", key=VALUE)
        for method in ("userpass", "jwt", "cert", "kubernetes"):
            made.enable(method)
        yield made


@pytest.fixture
def bao(need: Need, request: pytest.FixtureRequest) -> Company:
    """The server."""
    need(BAO.exists(), f"{BAO} is missing")
    made: Company = request.getfixturevalue("shared")
    return made


def source(bao: Company, auth: Auth, secret: str = "", **settings: Any) -> VaultSource:  # noqa: ANN401  # any setting
    """Open a source at the server; `secret` is what the references name."""
    return VaultSource(VaultSourceSettings(**{"address": bao.address, "auth": auth, **settings}), pocket(secret=secret))


async def read(bao: Company, auth: Auth, secret: str = "", **settings: Any) -> str:  # noqa: ANN401  # any setting
    """Read the key by this way to sign in."""
    opened = source(bao, auth, secret, **settings)
    try:
        return token_of(await opened.fetcher(VaultSettings("secret/claude"), "work").fetch())
    finally:
        await opened.close()


async def refused(bao: Company, auth: Auth, secret: str = "", **settings: Any) -> Exception:  # noqa: ANN401  # any setting
    """Fail to read it."""
    opened = source(bao, auth, secret, **settings)
    try:
        return await failure(opened.fetcher(VaultSettings("secret/claude"), "work"))
    finally:
        await opened.close()


async def test_a_token(bao: Company) -> None:
    """Of somebody else's making; it is looked up, and not revoked in the end."""
    made = bao.post("auth/token/create", policies=["claude"], ttl="1h")["auth"]["client_token"]
    assert await read(bao, Token(SECRET), made) == VALUE
    assert await read(bao, Token(SECRET), made) == VALUE
    bao.post("auth/token/revoke", token=made)
    assert "the token is expired or revoked" in str(await refused(bao, Token(SECRET), made))


async def test_a_token_that_may_not_even_look_itself_up(bao: Company) -> None:
    """Some are made without the default policy; what they may read they read."""
    made = bao.post("auth/token/create", policies=["claude"], no_default_policy=True)["auth"]["client_token"]
    assert await read(bao, Token(SECRET), made) == VALUE


async def test_the_file_that_bao_login_writes(bao: Company, tmp_path: Path) -> None:
    """Who has signed in by the command line is signed in."""
    env = bao.server.env | {"HOME": str(tmp_path)}
    bao.server.env = env
    assert bao.server.run("login", ROOT_TOKEN).returncode == 0
    assert await read(bao, TokenFile(str(tmp_path / ".vault-token"))) == VALUE


async def test_an_approle_with_a_wrapped_secret_id(bao: Company) -> None:
    """As an orchestrator hands it over: opened once, and whoever opened it before is noticed."""
    auth = AppRole(ROLE_ID, SECRET, wrapping_role="claude")
    path = "auth/approle/role/claude/secret-id"
    wrapped = bao.call("POST", path, {}, wrap="60s")["wrap_info"]["token"]
    assert await read(bao, auth, wrapped) == VALUE
    assert "somebody else has read it" in str(await refused(bao, auth, wrapped))
    stolen = bao.call("POST", path, {}, wrap="60s")["wrap_info"]["token"]
    bao.call("POST", "sys/wrapping/unwrap", {}, token=stolen)
    assert "somebody else has read it" in str(await refused(bao, auth, stolen))


async def test_an_opened_wrapping_serves_later_runs_until_the_server_refuses_it(bao: Company) -> None:
    """What was in it is stored, as nobody can open it again; what the server has destroyed is not kept any longer."""
    path = "auth/approle/role/claude/secret-id"
    context = pocket(secret=bao.call("POST", path, {}, wrap="60s")["wrap_info"]["token"])
    settings = VaultSourceSettings(bao.address, auth=AppRole(ROLE_ID, SECRET, wrapping_role="claude"))
    for _ in range(2):
        run = VaultSource(settings, context)
        assert token_of(await run.fetcher(VaultSettings("secret/claude"), "work").fetch()) == VALUE
        await run.close()
    kept = context.login.get()
    assert kept is not None
    bao.post(f"{path}/destroy", secret_id=json.loads(kept.reveal())["secret_id"])
    run = VaultSource(settings, context)
    assert "ask for a new wrapping token" in str(await failure(run.fetcher(VaultSettings("secret/claude"), "work")))
    assert context.login.get() is None
    await run.close()


async def test_a_wrapping_of_something_else_is_left_closed(bao: Company) -> None:
    """A swapped token leads nowhere, and is there to be looked at afterwards."""
    swapped = bao.call("GET", "secret/data/claude", wrap="60s")["wrap_info"]["token"]
    error = await refused(bao, AppRole(ROLE_ID, SECRET, wrapping_role="claude"), swapped)
    assert "may have been swapped" in str(error)
    assert bao.call("POST", "sys/wrapping/unwrap", {}, token=swapped)["data"]["data"] == {"key": VALUE}


async def test_a_user_name_and_password(bao: Company) -> None:
    """A wrong one is told, without it."""
    bao.post("auth/userpass/users/me", password="fake-password", token_policies=["claude"])
    assert await read(bao, UserPass("me", SECRET), "fake-password") == VALUE
    error = await refused(bao, UserPass("me", SECRET), "fake-wrong-password")
    assert isinstance(error, PermanentFetchError)
    assert "sign in (userpass): invalid username or password" in str(error)
    assert "fake-wrong-password" not in str(error)


async def test_a_jwt_of_a_provider_that_the_server_trusts(bao: Company) -> None:
    """With its role; an expired one is told."""
    key = rsa.generate_private_key(65537, 2048)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    bao.post("auth/jwt/config", jwt_validation_pubkeys=[public.decode()])
    bao.post(
        "auth/jwt/role/claude",
        role_type="jwt",
        bound_audiences=["vault"],
        user_claim="sub",
        token_policies=["claude"],
    )
    claims = {"sub": "me", "aud": "vault", "iat": int(time.time()) - 5, "exp": int(time.time()) + 60}
    assert await read(bao, Jwt("claude", SECRET), signed(claims, key)) == VALUE
    assert "sign in (jwt)" in str(await refused(bao, Jwt("claude", SECRET), signed(claims | {"aud": "other"}, key)))


def signed(claims: Mapping[str, Any], key: rsa.RSAPrivateKey) -> str:
    """Make a JWT."""

    def part(content: bytes) -> str:
        return base64.urlsafe_b64encode(content).decode().rstrip("=")

    head = part(json.dumps({"alg": "RS256", "typ": "JWT"}).encode())
    body = part(json.dumps(dict(claims)).encode())
    return f"{head}.{body}.{part(key.sign(f'{head}.{body}'.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


async def test_kubernetes_as_far_as_it_goes_without_a_cluster(bao: Company, tls: Tls, tmp_path: Path) -> None:
    """The projected token arrives at the server, which cannot ask a cluster about it."""
    bao.post(
        "auth/kubernetes/config",
        kubernetes_host="https://127.0.0.1:1",
        kubernetes_ca_cert=tls.authority.cert_pem.bytes().decode(),
    )
    bao.post(
        "auth/kubernetes/role/claude",
        bound_service_account_names=["claude"],
        bound_service_account_namespaces=["default"],
        token_policies=["claude"],
    )
    (tmp_path / "token").write_text("fake.projected.token")
    error = await refused(bao, Kubernetes("claude", str(tmp_path / "token")))
    assert "sign in (kubernetes)" in str(error)
    assert "fake.projected.token" not in str(error)


async def test_a_client_certificate(bao: Company, tls: Tls) -> None:
    """Mutual TLS is the sign-in; without the certificate there is none."""
    bao.post(
        "auth/cert/certs/claude",
        certificate=tls.authority.cert_pem.bytes().decode(),
        allowed_common_names=["me.example"],
        token_policies=["claude"],
    )
    assert await read(bao, Cert(), **tls.settings, **tls.client) == VALUE
    error = await refused(bao, Cert(), **tls.settings)
    assert "sign in (cert)" in str(error)


# --- TLS --------------------------------------------------------------------------------------------------------

APPROLE = AppRole(ROLE_ID, SECRET)


async def test_tls_with_the_companys_own_authority(bao: Company, tls: Tls) -> None:
    """`ca_cert` names it."""
    assert await read(bao, APPROLE, SECRET_ID, **tls.settings) == VALUE


async def test_a_server_of_unknown_authority_is_not_talked_to(bao: Company, tls: Tls, tmp_path: Path) -> None:
    """Nor one that another authority vouches for; the error says what to set."""
    error = await refused(bao, APPROLE, SECRET_ID, address=tls.settings["address"])
    assert isinstance(error, TransientFetchError)
    assert "certificate is not to be trusted" in str(error)
    assert "set ca_cert" in str(error)
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    other = tls.settings | {"ca_cert": str(tmp_path / "other.pem")}
    assert "certificate is not to be trusted" in str(await refused(bao, APPROLE, SECRET_ID, **other))


async def test_a_server_of_another_name_is_not_talked_to_unless_that_is_said(bao: Company, tls: Tls) -> None:
    """A tunnel leads to it under an address that its certificate does not know."""
    tunnel = tls.settings | {"address": f"https://127.0.0.1:{tls.port}"}
    assert "tls_server_name" in str(await refused(bao, APPROLE, SECRET_ID, **tunnel))
    assert await read(bao, APPROLE, SECRET_ID, **tunnel, tls_server_name="vault.example") == VALUE
    wrong = await refused(bao, APPROLE, SECRET_ID, **tls.settings, tls_server_name="other.example")
    assert "certificate is not to be trusted" in str(wrong)


async def test_a_file_that_is_no_certificate_is_named(bao: Company, tls: Tls, tmp_path: Path) -> None:
    """Whichever it is."""
    (tmp_path / "x.pem").write_text("no certificate")
    wrong = tls.settings | {"ca_cert": str(tmp_path / "x.pem")}
    assert f"{tmp_path}/x.pem: no file of PEM certificates" in str(await refused(bao, APPROLE, SECRET_ID, **wrong))
    client = tls.client | {"client_key": str(tmp_path / "x.pem")}
    error = await refused(bao, APPROLE, SECRET_ID, **tls.settings, **client)
    assert "no certificate and key that belong together" in str(error)


async def test_http_where_tls_is_spoken_and_the_other_way_round(bao: Company, tls: Tls) -> None:
    """Both are slips in the address, and told as such."""
    http = await refused(bao, APPROLE, SECRET_ID, address=f"http://127.0.0.1:{tls.port}")
    assert "the answer is no Vault's; check `address` (http or https?" in str(http)
    https = await refused(bao, APPROLE, SECRET_ID, address=bao.address.replace("http:", "https:"))
    assert "TLS fails" in str(https)


def test_no_old_protocol_is_spoken(tls: Tls) -> None:
    """Before TLS 1.2 anybody on the way could weaken it."""
    from broker.sources.web.transport import context  # noqa: PLC0415  # it loads requests

    settings = VaultSourceSettings(**tls.settings, auth=APPROLE)  # type: ignore[arg-type]  # as in the config
    made = context(settings.reached)
    assert made.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert made.verify_mode is ssl.CERT_REQUIRED
    assert made.check_hostname
