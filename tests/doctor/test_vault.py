"""What the doctor says of a Vault that gives no secret: each fault planted on a fake server."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator

import pytest
import trustme

from broker.doctor import Severity
from broker.doctor.registry import ALL
from tests.doctor.conftest import Patient
from tests.fakes.vault import FakeVault, fake_vault

SECRET = "fake-token-1"
TOKEN = "fake-vault-token"
CONFIG = """
[sources.corp]
type = "vault"
address = "{address}"
auth = {{ method = "token", token = {{ env = "FAKE_TOKEN" }} }}
{more}
[credentials.work]
source = "corp"
path = "secret/claude"
"""

Plant = Callable[[FakeVault], object]


@pytest.fixture
def vault() -> Iterator[FakeVault]:
    """Give a server with one secret."""
    with fake_vault() as made:
        made.kv["claude"] = {"key": SECRET}
        made.tokens.add(TOKEN)
        yield made


@pytest.fixture
def user(patient: Patient) -> Patient:
    """Give somebody whose daemon does not run: the doctor asks the server itself."""
    patient.stop()
    patient.checks = {"credentials": ALL["credentials"]}
    patient.patch.setenv("FAKE_TOKEN", TOKEN)
    return patient


def explained(user: Patient, address: str, more: str = "") -> tuple[str, str]:
    """Ask the doctor; return what it found, and what it says to do."""
    user.configure(CONFIG.format(address=address, more=more))
    found = user.found("source-failed")
    assert found.severity is Severity.ERROR
    assert not {SECRET, TOKEN} & set(f"{found.what} {found.mend}".split())
    return found.what, found.mend


def answers(path: str, status: int, *errors: str) -> Plant:
    """Refuse what is asked at a path (any, if it is empty)."""

    def plant(vault: FakeVault) -> None:
        vault.answer = lambda _method, asked: (status, {"errors": list(errors)}) if path in ("", asked) else None

    return plant


def test_a_server_that_gives_the_secret_is_well(user: Patient, vault: FakeVault) -> None:
    """Else the faults below would prove nothing."""
    user.configure(CONFIG.format(address=vault.address, more=""))
    assert [finding.severity for _, finding in user.examine().findings] == [Severity.OK]


@pytest.mark.parametrize(
    ("plant", "more", "expected"),
    [
        (answers("", 503, "Vault is sealed"), "", ("Vault is sealed (status 503)", "has to unseal it")),
        (answers("", 404, "namespace not found"), 'namespace = "team/a"', ("no namespace team/a", "mend `namespace`")),
        (FakeVault.forget_tokens, "", ("permission denied", "the token is expired or revoked")),
        (
            answers("secret/data/claude", 403, "permission denied"),
            "",
            (
                "secret/data/claude: permission denied",
                'ask for a policy with: path "secret/data/claude" { capabilities = ["read"] }',
            ),
        ),
    ],
    ids=["sealed", "wrong namespace", "expired token", "missing policy"],
)
def test_what_the_server_refuses_is_explained(
    user: Patient, vault: FakeVault, plant: Plant, more: str, expected: tuple[str, str]
) -> None:
    """What happened, where, and what to do: which `namespace`, which path, which capability."""
    plant(vault)
    found = explained(user, vault.address, more)
    assert found[0].startswith(f"work: {vault.address}: ")
    assert expected[0] in found[0]
    assert expected[1] in found[1]
    assert ("expired" in found[1]) == (plant is FakeVault.forget_tokens)


def test_a_server_that_is_not_there_is_explained(user: Patient) -> None:
    """Nothing listens on port 1."""
    what, mend = explained(user, "http://127.0.0.1:1")
    assert what == "work: http://127.0.0.1:1: nothing listens there (connection refused)"
    assert "check `address`" in mend


def test_faults_of_tls_are_told_apart(user: Patient, vault: FakeVault) -> None:
    """Of a server without it, of one whose authority nobody here knows, and of one with another name."""
    what, mend = explained(user, vault.address.replace("http:", "https:"))
    assert "TLS fails" in what
    assert "http or https?" in mend
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("vault.example").configure_cert(context)
    authority.cert_pem.write_to_path(user.folder / "ca.pem")
    with fake_vault(context) as secured:
        what, mend = explained(user, secured.address)
        assert "certificate is not to be trusted" in what
        assert mend == "set ca_cert, or tls_server_name"
        assert "mismatch" in explained(user, secured.address, f'ca_cert = "{user.folder}/ca.pem"')[0]
