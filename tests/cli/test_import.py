"""`broker import`: what a person sees and finds afterwards, and that a failure half-way leaves nothing."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.errors import StorageError, Unreachable
from broker.integrations import textfile
from broker.integrations.textfile import FileProblem
from broker.secret import Secret
from broker.service.secrets import StoredSecrets
from tests.cli.conftest import Said, Type
from tests.fakes.control import Script

KEY = "fake-key-1"
ENV = f"# fake-comment\nANTHROPIC_API_KEY={KEY}\nANTHROPIC_AUTH_TOKEN=fake-key-2\n"

pytestmark = pytest.mark.usefixtures("key")

Import = Callable[..., Said]


@pytest.fixture
def import_(folder: Path, type_: Type) -> Import:
    """Give `import_("--yes")`: of a .env file with two keys, unless it is said which."""

    def run(options: str = "", tool: str = "dotenv", text: str = ENV) -> Said:
        file = folder / "their file"
        file.write_text(text)
        return type_(f"import {tool} {shlex.quote(str(file))} {options}")

    return run


def stored(type_: Type) -> list[str]:
    """Name what is in the store."""
    return type_("secret list").out.split()


def test_an_import_stores_secrets_and_writes_where_they_are(import_: Import, type_: Type, folder: Path) -> None:
    """It says what to do with the old file, and leaves it; nothing that is printed or written has a key in it."""
    said = import_("--yes --pool keys")
    assert (said.code, said.err) == (0, "")
    assert "stored 2 secrets" in said.out
    assert f"shred -u {shlex.quote(str(folder / 'their file'))}" in said.out
    assert stored(type_) == ["anthropic", "anthropic-token"]
    config = (folder / "config.toml").read_text()
    assert (folder / "config.toml").stat().st_mode & 0o777 == 0o600
    assert 'members = ["anthropic", "anthropic-token"]' in config
    assert "fake" not in config + said.out
    assert type_("config check").code == 0
    assert (folder / "their file").read_text() == ENV


def test_again_it_changes_nothing(import_: Import, type_: Type, folder: Path) -> None:
    """What was changed since is not lost; --force replaces it."""
    import_("--yes")
    before = (folder / "config.toml").read_text()
    again = import_("--yes")
    assert (again.code, again.out.splitlines()[-1]) == (1, "nothing was changed")
    assert (folder / "config.toml").read_text() == before
    assert import_("--yes --force").code == 0
    assert type_("config check").code == 0


def test_a_dry_run_changes_nothing_and_shows_no_secret(import_: Import, folder: Path) -> None:
    """Without a store, too."""
    said = import_("--dry-run")
    assert said.code == 0
    assert "  + [credentials.anthropic]" in said.out
    assert "fake" not in said.out + said.err
    assert not (folder / "config.toml").exists()
    assert not (folder / "state").exists()


def test_without_a_terminal_it_wants_yes(import_: Import, folder: Path) -> None:
    """It is a question otherwise."""
    said = import_()
    assert said.code == 64
    assert "to go on: --yes" in said.err
    assert not (folder / "config.toml").exists()


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1)])
def test_on_a_terminal_it_asks(
    import_: Import, folder: Path, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    """With what would be done."""
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.confirm", lambda _text, **_options: answer == "y")
    assert import_().code == code
    assert (folder / "config.toml").exists() == (answer == "y")


def test_the_other_tools_files_are_read_too(import_: Import, folder: Path) -> None:
    """Each by its own command."""
    aws = "[default]\naws_access_key_id=AKIAFAKEFAKEFAKE0001\naws_secret_access_key=fake\n"
    assert import_("--yes", tool="aws", text=aws).code == 0
    assert import_("--yes", tool="proxycast", text="providers: [{name: p, api_key: fake}]").code == 0
    config = (folder / "config.toml").read_text()
    assert 'secret_access_key = { local = "default-secret-access-key" }' in config
    assert "[credentials.p]" in config


def test_a_byte_order_mark_is_no_part_of_the_first_name(import_: Import, type_: Type) -> None:
    """Some editors write one."""
    assert import_("--yes", text=f"\ufeffANTHROPIC_API_KEY={KEY}").code == 0
    assert stored(type_) == ["anthropic"]


def test_a_file_that_is_not_there_is_told(type_: Type) -> None:
    """In a line."""
    said = type_("import aws /nowhere/credentials")
    assert (said.code, said.err) == (78, "broker: /nowhere/credentials: there is no such file\n")


def test_a_secret_that_cannot_be_stored_leaves_nothing(
    import_: Import, type_: Type, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those before it are taken back, and the config is as it was; the next run does all of it."""
    put = StoredSecrets.put

    async def fails(self: StoredSecrets, name: str, *rest: object) -> None:
        if name == "anthropic-token":
            raise StorageError("the disk is full")
        await put(self, name, *rest)  # type: ignore[arg-type]  # as it came

    monkeypatch.setattr(StoredSecrets, "put", fails)
    said = import_("--yes")
    assert (said.code, said.err) == (78, "broker: the disk is full\n")
    assert not (folder / "config.toml").exists()
    assert stored(type_) == []
    monkeypatch.setattr(StoredSecrets, "put", put)
    assert import_("--yes").code == 0


def test_a_config_that_cannot_be_written_leaves_nothing(
    import_: Import, type_: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was stored for it is taken back, and that is said."""

    def fails(*_: object) -> None:
        raise FileProblem("config.toml: cannot be written")

    monkeypatch.setattr(textfile, "replace", fails)
    said = import_("--yes")
    assert said.code == 74
    assert "what was stored for it is taken back" in said.err
    assert stored(type_) == []


def test_with_a_daemon_it_is_the_daemon_that_stores(import_: Import, control: Script, folder: Path) -> None:
    """Over its socket; a daemon that will not take one gets back what it took."""
    control.raw["/v1/secrets"] = b'{"secrets": []}'
    control.errors["/v1/secrets/anthropic-token"] = (507, "storage", "the disk is full")
    assert import_("--yes").err == "broker: the disk is full\n"
    assert [ask.partition(" {")[0] for ask in control.asks if "secrets/" in ask] == [
        "PUT /v1/secrets/anthropic",
        "PUT /v1/secrets/anthropic-token",
        "DELETE /v1/secrets/anthropic",
    ]
    assert not (folder / "config.toml").exists()


@pytest.mark.slow
def test_a_passphrase_is_asked_for_once(
    import_: Import, type_: Type, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often the store is opened for it; where nobody can be asked, that is said."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    (folder / "config.toml").write_text('[daemon]\npersist = "passphrase"\n[credentials.x]\nsource = "demo"\n')
    (folder / "config.toml").chmod(0o600)
    refused = import_("--yes")
    assert (refused.code, refused.err.split(";")[0]) == (
        77,
        "broker: the passphrase is needed, and there is no terminal to ask on",
    )
    asked: list[bool] = []

    def typed(*, new: bool) -> Secret:
        asked.append(new)
        return Secret("fake-passphrase")

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("broker.cli.hidden.passphrase", typed)
    assert import_("--yes").code == 0
    assert asked == [True]


def test_a_daemon_that_cannot_be_told_is_no_failure(
    import_: Import, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was imported is there; it is said that the daemon keeps the old config."""

    def fails(_client: object) -> bool:
        raise Unreachable("the daemon does not answer; run: broker restart")

    monkeypatch.setattr("broker.background.reload", fails)
    said = import_("--yes")
    assert said.code == 0
    assert "the running daemon keeps the old config" in said.err
