"""What the config says of a Vault: which addresses, files and paths are taken, and how one signs in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from broker.config import Config, parse
from broker.errors import ConfigError
from broker.sources import TYPES
from broker.sources.references import Reference
from broker.sources.vault.auth import AppRole, Auth, TokenFile
from broker.sources.vault.settings import VaultSettings, VaultSourceSettings

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
