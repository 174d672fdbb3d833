"""`broker setup gcp`: one file, without a secret, by which Google's libraries ask the broker."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Type
from tests.fakes.control import Script

CONFIG = '[credentials.vertex]\nsource = "gcp"\n[credentials.keys]\nsource = "aws"\n'
ADDRESS = "127.0.0.1:4711"


@pytest.fixture(autouse=True)
def file(folder: Path, control: Script, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Configure a credential of Google's that the daemon's endpoint serves; give the file, which is not there yet."""
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "GCE_METADATA_HOST", "GOOGLE_OAUTH_ACCESS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    (folder / "config.toml").write_text(CONFIG)
    (folder / "config.toml").chmod(0o600)
    for name, found in (("vertex", {"GCE_METADATA_HOST": ADDRESS}), ("keys", {"AWS_REGION": "x"})):
        control.consumers[name] = {"set": found, "unset": [], "lasting": True, "problem": None}
    return folder / "gcp-vertex.json"


def test_the_file_is_written_told_of_and_removed(type_: Type, file: Path) -> None:
    """A second time changes nothing."""
    said = type_("setup gcp --credential vertex")
    assert (said.code, said.err) == (0, "")
    assert said.out == (
        f"{file}: written; no secret is in it\n"
        "programs find it by these variables:\n"
        f"  export GOOGLE_APPLICATION_CREDENTIALS={file}\n"
        "  export GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES=1\n"
    )
    content = json.loads(file.read_text())
    broker = Path(sys.executable).parent / "broker"
    assert content["token_url"] == f"http://{ADDRESS}/v1/token"
    command = content["credential_source"]["executable"]["command"]
    assert command == f"{broker} export vertex --format gcp-executable"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert type_("setup gcp --credential vertex").out.startswith(f"{file}: set up already\n")
    assert type_("setup gcp --credential vertex --undo --dry-run").out == f"would be: {file}: removed\n"
    assert type_("setup gcp --credential vertex --undo").out == f"{file}: removed\n"
    assert not file.exists()
    assert "nothing was set up there" in type_("setup gcp --credential vertex --undo").out


def test_a_dry_run_writes_nothing(type_: Type, file: Path) -> None:
    """It says what would be written, and where."""
    assert type_("setup gcp --credential vertex --dry-run").out.startswith(f"{file}: would be written\n")
    assert not file.exists()


def test_what_stands_in_the_way_is_told(
    type_: Type, file: Path, control: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Variables that some programs heed first, a credential that fails now, a variable that names a removed file."""
    monkeypatch.setenv("GCE_METADATA_HOST", "x")
    control.consumers["vertex"]["problem"] = {"code": "needs-login", "message": "run: broker login google"}
    said = type_("setup gcp --credential vertex")
    assert (said.code, file.exists()) == (0, True)
    assert "broker: warning: run: broker login google\n" in said.err
    assert "GCE_METADATA_HOST is set in your environment" in said.err
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    assert "names it still" in type_("setup gcp --credential vertex --undo").err


@pytest.mark.parametrize("text", ["{}", "no json", '{"type": "service_account", "private_key": "fake-secret-1"}'])
def test_somebody_elses_file_is_left_alone(type_: Type, file: Path, text: str) -> None:
    """Whatever it is, and also by the undo."""
    file.write_text(text)
    for options in ("", " --undo"):
        said = type_(f"setup gcp --credential vertex{options}")
        assert (said.code, said.err) == (74, f"broker: {file}: is not the broker's file; move it away\n")
    assert file.read_text() == text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("", "say which credential: --credential vertex|keys"),
        ("--credential other", "say which credential"),
        ("--credential keys", "keys is none of Google's; see: broker setup aws --help"),
    ],
)
def test_what_cannot_be_is_one_line(type_: Type, file: Path, options: str, said: str) -> None:
    """Exit code 64."""
    answer = type_(f"setup gcp {options}")
    assert (answer.code, said in answer.err, answer.err.count("\n")) == (64, True, 1)
    assert not file.exists()
