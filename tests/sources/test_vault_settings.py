"""What the config says of a Vault: which addresses, files and paths are taken, and how one signs in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.config import Config, parse
from broker.errors import ConfigError, PermanentFetchError, TransientFetchError
from broker.secret import Secret
from broker.service.secrets import Lending
from broker.sources import TYPES
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
from broker.sources.vault.settings import VaultSettings, VaultSourceSettings
from broker.sources.vault.source import VaultSource
from tests.contracts.source_contract import OTHER, VALUE, failure, token_of
from tests.fakes.context import FakeSecrets
from tests.fakes.vault import FakeVault, fake_vault
from tests.sources.test_vault import Place

PATH = Path("/fake/config.toml")
HERE = Reference(local="secret")

SignedIn = Callable[[Auth, str], Awaitable[Any]]


def read(source: str, credential: str = 'path = "secret/claude"') -> Config:
    """Read a config with these keys."""
    text = f'[sources.corp]\ntype = "vault"\n{source}\n[credentials.work]\nsource = "corp"\n{credential}\n'
    return parse(text, PATH, TYPES, {})


def problems(source: str, credential: str = 'path = "secret/claude"') -> list[str]:
    """Give what is wrong with it."""
    with pytest.raises(ConfigError) as caught:
        read(source, credential)
    return [line.removeprefix(f"{PATH}: ") for line in caught.value.problems]


@pytest.fixture(autouse=True)
def no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing comes from the environment."""
    monkeypatch.delenv("VAULT_ADDR", raising=False)
    monkeypatch.delenv("BAO_ADDR", raising=False)


def test_the_interfaces_example_is_understood() -> None:
    """As it stands there."""
    found = read(
        'address = "https://vault.corp.example:8200"\n'
        'auth = { method = "approle", role_id = "fake-role", secret_id = { keyring = "vault/secret-id" } }',
        'path = "secret/data/claude"\nfield = "api_key"',
    )
    assert found.sources["corp"].settings == VaultSourceSettings(
        "https://vault.corp.example:8200", auth=AppRole("fake-role", Reference(keyring="vault/secret-id"))
    )
    assert found.credentials["work"].settings == VaultSettings("secret/data/claude", "api_key")
    assert found.credentials["work"].timing.max_age_s == 300


def test_who_uses_the_command_line_needs_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """`VAULT_ADDR` says where, and `vault login` left its token."""
    monkeypatch.setenv("VAULT_ADDR", "https://vault.example")
    text = '[credentials.work]\nsource = "vault"\npath = "secret/claude"\nmax_age = "1h"\n'
    found = parse(text, PATH, TYPES, {})
    assert found.sources["vault"].settings == VaultSourceSettings("https://vault.example", auth=TokenFile())
    assert found.credentials["work"].timing.max_age_s == 3600


def test_an_address_is_needed() -> None:
    """Two variables may give it."""
    (problem,) = problems("")
    assert problem == "sources.corp: address is missing; give it here, or as VAULT_ADDR or BAO_ADDR to the daemon"


@pytest.mark.parametrize(
    "address",
    [
        "vault.example:8200",
        "ftp://vault.example",
        "https://",
        "https://me:fake-password-1@vault.example",
        "https://vault.example?x=1",
        "https://vault.example#x",
        "https://vault.example:99999",
        "https://[vault",
        "https://vault .example",
    ],
)
def test_an_address_is_a_plain_url(address: str) -> None:
    """What is in it instead is not repeated: it may be a password."""
    (problem,) = problems(f'address = "{address}"')
    assert "address must be a URL such as" in problem
    assert "fake-password-1" not in problem


@pytest.mark.parametrize("host", ["127.0.0.1:8200", "localhost:8200", "[::1]:8200", "127.8.9.10"])
def test_plain_http_is_for_the_loopback(host: str) -> None:
    """Others would read the secrets on their way."""
    assert read(f'address = "http://{host}"')


@pytest.mark.parametrize("host", ["vault.example", "127.0.0.1.evil.example", "10.0.0.1", "localhost.example"])
def test_plain_http_elsewhere_must_be_insisted_on(host: str) -> None:
    """The error names the key."""
    (problem,) = problems(f'address = "http://{host}"')
    assert "allow_http = true insists" in problem
    assert read(f'address = "http://{host}"\nallow_http = true')


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('ca_cert = "ca.pem"', "ca_cert must be an absolute path"),
        ('client_cert = "/c.pem"', "client_cert and client_key belong together"),
        ('namespace = "a b"', "namespace must be a path"),
        ('namespce = "a"', "sources.corp.namespce: unknown key; did you mean 'namespace'?"),
        ("timeout = 5", 'did you mean "5s"?'),
        ('auth = { method = "aprole" }', "did you mean 'approle'?"),
        ('auth = { method = "approle" }', "sources.corp.auth.role_id: missing"),
        (
            'auth = { method = "approle", role_id = "x", secret_id = "fake-s1" }',
            "auth.secret_id: a secret is never text",
        ),
        ('auth = { method = "approle", role_id = "x", mount = "../sys" }', "mount must be a path such as approle"),
        ('auth = { method = "approle", role_id = "x", wrapping_role = "y" }', "belongs to a secret_id"),
        ('auth = { method = "token-file", path = "x" }', "path must be absolute"),
        ('auth = { method = "kubernetes", role = "x", token_path = "x" }', "token_path must be absolute"),
        ('auth = { method = "token", token = { env = "A", file = "/x" } }', "expected exactly one of"),
    ],
)
def test_a_wrong_setting_is_told_by_its_place(line: str, expected: str) -> None:
    """And quotes nothing that may be secret."""
    found = problems(f'address = "https://vault.example"\n{line}')
    assert any(expected in problem for problem in found), found
    assert not any("fake-s1" in problem for problem in found)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('path = ""', "path must be what the command line takes"),
        ('path = "secret/../sys/raw"', "path must be what the command line takes"),
        ('path = "secret/claude?version=1"', "path must be what the command line takes"),
        ('path = "secret/a%2fb"', "path must be what the command line takes"),
        ('path = "secret//b"', "path must be what the command line takes"),
        ('path = "secret/x"\nversion = 0', "version counts from 1"),
        ('path = "secret/x"\nversion = 1\ndata = {}', "belongs to a read"),
        ('path = "secret/x"\nfield = ""', "field must not be empty"),
        ('path = "secret/x"\ndata = 1', "data"),
    ],
)
def test_a_wrong_path_is_told(line: str, expected: str) -> None:
    """What could change the meaning of the call is refused."""
    found = problems('address = "https://vault.example"', line)
    assert any(expected in problem for problem in found), found


# --- signing in -------------------------------------------------------------------------------------------------


@pytest.fixture
def vault() -> Iterator[FakeVault]:
    """Give a server with one secret."""
    with fake_vault() as vault:
        vault.kv["claude"] = {"key": VALUE}
        vault.proof = {}
        yield vault


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
    """Those of INTERFACES, and more that hvac has."""
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


# --- a wrapped secret_id ----------------------------------------------------------------------------------------


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
    vault.proof = {"secret_id": "fake-wrapped-id"}
    place = Place(vault, auth=AppRole("r", HERE, wrapping_role="claude"))
    place.context.secrets.records["secret"] = Secret("fake-wrapping-token")
    fetcher = place.fetcher("secret/claude")
    await fetcher.fetch()
    vault.forget_tokens()
    await fetcher.fetch()
    assert vault.calls["auth/approle/login"] == 2
    assert calls == ["lookup", "unwrap"]
    await place.source.close()


def _later_run(vault: FakeVault, earlier: Place, **settings: Any) -> Place:  # noqa: ANN401  # any setting
    """Open the source again, with what an earlier run stored."""
    return Place(vault, auth=AppRole("r", HERE, wrapping_role="claude"), context=earlier.context, **settings)


@pytest.fixture
async def unwrapped(vault: FakeVault) -> tuple[Place, list[str]]:
    """Give a source that has opened its wrapping and was closed, and the calls that were made for it."""
    calls = _wrapping(vault)
    vault.proof = {"secret_id": "fake-wrapped-id"}
    place = Place(vault, auth=AppRole("r", HERE, wrapping_role="claude"))
    place.context.secrets.records["secret"] = Secret("fake-wrapping-token")
    await place.fetcher("secret/claude").fetch()
    await place.source.close()
    return place, calls


async def test_an_opened_wrapping_outlasts_the_daemon(vault: FakeVault, unwrapped: tuple[Place, list[str]]) -> None:
    """A restart or a lock needs no new wrapping token; a new one is opened like the first."""
    earlier, calls = unwrapped
    place = _later_run(vault, earlier)
    assert token_of(await place.fetcher("secret/claude").fetch()) == VALUE
    assert calls == ["lookup", "unwrap"]
    calls.clear()
    place.context.secrets.records["secret"] = Secret("fake-wrapping-token-2")
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
    place = _later_run(vault, earlier, namespace="other" if record is None else None)
    assert "unwrapped already" in str(await failure(place.fetcher("secret/claude")))
    assert calls == ["lookup", "unwrap", "lookup"]
    await place.source.close()


async def test_a_secret_id_that_is_refused_is_not_kept(vault: FakeVault, unwrapped: tuple[Place, list[str]]) -> None:
    """The message says what to ask for; a server that is not ready is no reason to throw it away."""
    earlier, _ = unwrapped
    answers = {"auth/approle/login": (503, {"errors": ["Vault is sealed"]})}
    vault.answer = lambda _method, path: answers.get(path)
    place = _later_run(vault, earlier)
    assert "sealed" in str(await failure(place.fetcher("secret/claude")))
    kept = earlier.context.login.record
    assert kept is not None
    answers["auth/approle/login"] = 400, {"errors": ["invalid role or secret ID"]}
    place = _later_run(vault, earlier)
    assert "ask for a new wrapping token" in str(await failure(place.fetcher("secret/claude")))
    assert earlier.context.login.get() is None
    await place.source.close()


async def test_a_wrapping_is_left_alone_while_nobody_can_tell_whether_it_was_opened(vault: FakeVault) -> None:
    """While the store is locked, and for the doctor, who would use it up."""
    calls = _wrapping(vault)
    settings = VaultSourceSettings(vault.address, auth=AppRole("r", HERE, wrapping_role="claude"))
    secrets = FakeSecrets({"secret": Secret("fake-wrapping-token")})
    source = VaultSource(settings, Lending(secrets))
    error = await failure(source.fetcher(VaultSettings("secret/claude"), "work"))
    assert isinstance(error, TransientFetchError)
    assert calls == []
    await source.close()


async def test_where_nothing_can_be_stored_memory_must_do(vault: FakeVault) -> None:
    """As long as the daemon runs, nothing is missing."""
    calls = _wrapping(vault)
    place = Place(vault, auth=AppRole("r", HERE, wrapping_role="claude"))
    place.context.login.stores = False
    place.context.secrets.records["secret"] = Secret("fake-wrapping-token")
    fetcher = place.fetcher("secret/claude")
    for _ in range(2):
        assert token_of(await fetcher.fetch()) == VALUE
        vault.forget_tokens()
    assert calls == ["lookup", "unwrap"]
    await place.source.close()


async def test_a_wrapping_made_elsewhere_is_left_closed(vault: FakeVault) -> None:
    """Whoever swapped it would have us sign in as theirs."""
    calls = _wrapping(vault, made_by="auth/approle/role/other/secret-id")
    place = Place(vault, auth=AppRole("r", HERE, wrapping_role="claude"))
    place.context.secrets.records["secret"] = Secret("fake-wrapping-token")
    error = await failure(place.fetcher("secret/claude"))
    assert isinstance(error, PermanentFetchError)
    assert "was not made by auth/approle/role/claude/secret-id" in str(error)
    assert calls == ["lookup"]
    await place.source.close()


async def test_a_wrapping_that_somebody_opened_is_an_alarm(vault: FakeVault) -> None:
    """The plain word that FACTS asks for; another wrapping token mends it."""
    _wrapping(vault).append("unwrap")
    place = Place(vault, auth=AppRole("r", HERE, wrapping_role="claude"))
    place.context.secrets.records["secret"] = Secret("fake-wrapping-token")
    fetcher = place.fetcher("secret/claude")
    assert "somebody else has read it" in str(await failure(fetcher))
    _wrapping(vault)
    place.context.secrets.records["secret"] = Secret(OTHER)
    assert fetcher.changed()
    assert token_of(await fetcher.fetch()) == VALUE
    await place.source.close()
