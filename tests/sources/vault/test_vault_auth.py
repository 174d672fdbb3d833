"""The ways to sign in to a Vault: what each sends, over a fake server (tests/real/test_vault_auth.py has a real one)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from broker.secret import Secret
from broker.sources.references import Reference
from broker.sources.vault.auth import (
    METHODS,
    AppRole,
    Auth,
    Aws,
    Azure,
    Cert,
    Gcp,
    GitHub,
    Jwt,
    Kubernetes,
    Ldap,
    Okta,
    Radius,
    Token,
    TokenFile,
    UserPass,
)
from tests.contracts.source_contract import VALUE, failure, token_of
from tests.fakes.vault import FakeVault
from tests.sources.vault.place import Place

HERE = Reference(local="secret")

SignedIn = Callable[[Auth, str], Awaitable[Any]]


@pytest.fixture
def vault(vault: FakeVault) -> FakeVault:
    """Let the server take any proof."""
    vault.proof = {}
    return vault


@pytest.fixture
async def signed_in(vault: FakeVault) -> AsyncIterator[SignedIn]:
    """Give a function that reads the secret by a way to sign in, and returns what was sent for that."""
    places = []

    async def signed_in_(auth: Auth, path: str) -> Any:  # noqa: ANN401  # JSON
        place = Place(vault, auth=auth)
        places.append(place)
        place.context.secrets.records["secret"] = Secret("fake-secret-1")
        assert token_of(await place.fetcher("secret/claude").fetch()) == VALUE
        return vault.bodies[path]

    yield signed_in_
    for place in places:
        await place.source.close()


@pytest.mark.parametrize(
    ("auth", "path", "body"),
    [
        (AppRole("r", HERE), "auth/approle/login", {"role_id": "r", "secret_id": "fake-secret-1"}),
        (AppRole("r", mount="a/b"), "auth/a/b/login", {"role_id": "r", "secret_id": None}),
        (UserPass("me", HERE), "auth/userpass/login/me", {"password": "fake-secret-1"}),
        (Ldap("me", HERE, mount="corp"), "auth/corp/login/me", {"password": "fake-secret-1"}),
        (Jwt("r", HERE), "auth/jwt/login", {"role": "r", "jwt": "fake-secret-1"}),
        (Cert("r"), "auth/cert/login", {"name": "r"}),
        (GitHub(HERE), "auth/github/login", {"token": "fake-secret-1"}),
        (Okta("me", HERE), "auth/okta/login/me", {"password": "fake-secret-1"}),
        (Radius("me", HERE), "auth/radius/login/me", {"password": "fake-secret-1"}),
        (Gcp("r", HERE), "auth/gcp/login", {"role": "r", "jwt": "fake-secret-1"}),
        (Azure("r", HERE, vm_name="v"), "auth/azure/login", {"role": "r", "jwt": "fake-secret-1", "vm_name": "v"}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Auth) else None,
)
async def test_every_method_sends_what_the_server_wants(
    signed_in: SignedIn,
    auth: Auth,
    path: str,
    body: dict[str, Any],
) -> None:
    """By the API's documentation; those that tests/real has a server for are tried there too."""
    sent = await signed_in(auth, path)
    assert {name: value for name, value in sent.items() if name in body} == body


async def test_a_password_with_blanks_and_umlauts_signs_in_and_is_never_repeated(vault: FakeVault) -> None:
    """Neither a refusal nor a failure that quotes it gets through with it."""
    password = "fäke  pass words"
    vault.proof = {"password": password}
    place = Place(vault, auth=Ldap("me", HERE))
    place.context.secrets.records["secret"] = Secret(password)
    assert token_of(await place.fetcher("secret/claude").fetch()) == VALUE
    await place.source.close()
    for status in (400, 500):
        vault.answer = lambda _method, _path, status=status: (status, {"errors": [f"bad {password}"]})  # type: ignore[misc]  # bound now
        error = await failure(place.fetcher("secret/claude"))
        assert "bad ***;" in f"{error};"  # the end, or what follows
        assert "pass" not in str(error)
        await place.source.close()
        place = Place(vault, auth=Ldap("me", HERE))
        place.context.secrets.records["secret"] = Secret(password)


async def test_what_is_no_token_is_sent_to_nobody(vault: FakeVault) -> None:
    """A header takes no such text; the setting is named that led there."""
    place = Place(vault, auth=Token(HERE))
    place.context.secrets.records["secret"] = Secret("two words")
    error = await failure(place.fetcher("secret/claude"))
    assert "that `auth` names is no token: it has blanks" in str(error)
    assert not vault.calls


async def test_an_aws_identity_is_shown_by_a_signed_request(signed_in: SignedIn) -> None:
    """The secret key itself stays here."""
    sent = await signed_in(Aws("r", "FAKEKEYID", HERE, server_id="vault.example"), "auth/aws/login")
    assert sent["role"] == "r"
    assert set(sent) == {
        "iam_http_request_method",
        "iam_request_url",
        "iam_request_headers",
        "iam_request_body",
        "role",
    }
    assert "fake-secret-1" not in str(sent)


async def test_a_projected_token_is_read_at_each_login(signed_in: SignedIn, vault: FakeVault, tmp_path: Path) -> None:
    """Kubernetes replaces the file, which everybody in the pod can read."""
    path = tmp_path / "token"
    for jwt in ("fake-jwt-1", "fake-jwt-2"):
        path.write_text(jwt)
        path.chmod(0o644)
        sent = await signed_in(Kubernetes("r", str(path)), "auth/kubernetes/login")
        assert sent == {"role": "r", "jwt": jwt}


async def test_the_command_lines_token_is_followed(vault: FakeVault, tmp_path: Path) -> None:
    """After `vault login` the broker uses the new token, without a word; before, it says that it waits for that."""
    path = tmp_path / ".vault-token"
    place = Place(vault, auth=TokenFile(str(path)))
    fetcher = place.fetcher("secret/claude")
    assert str(await failure(fetcher)) == f"{path}: not there (yet); run: vault login, or: bao login"
    for token in ("fake-token-a", "fake-token-b"):
        vault.tokens = {token}
        path.write_text(token)
        path.chmod(0o600)
        assert fetcher.changed()
        assert token_of(await fetcher.fetch()) == VALUE
        assert not fetcher.changed()
    await place.source.close()


def test_every_method_has_its_name() -> None:
    """Those that are promised, and more that hvac has."""
    assert set(METHODS) >= {
        "token",
        "token-file",
        "approle",
        "userpass",
        "ldap",
        "jwt",
        "kubernetes",
        "cert",
        "aws",
        "gcp",
    }
