"""`broker setup aws`: what a person sees, and what becomes of their AWS config."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from broker.integrations import installed_helper
from tests.cli.conftest import Said, Type

CONFIG = """\
[sources.corp]
type = "aws"
profile = "corp"
[sources.chain]
type = "aws"
[sources.mine]
type = "aws"
access_key_id = "AKIAFAKE00000000"
secret_access_key = { env = "X" }
[credentials.work]
source = "corp"
[credentials.chained]
source = "chain"
[credentials.own]
source = "mine"
[sources.regional]
type = "aws"
profile = "corp"
region = "eu-west-1"
[credentials.regional]
source = "regional"
[credentials.key]
source = "corp"
kind = "bedrock-api-key"
region = "us-east-1"
"""
SECRET = "fake-secret-1"
THEIRS = "# mine\n[default]\nregion=us-east-1\n\n[profile corp]\nsso_session = corp\n"

Setup = Callable[[str], Said]


@pytest.fixture(autouse=True)
def home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a developer with a config and an installed helper."""
    clear = ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION")
    for name in clear:
        monkeypatch.delenv(name, raising=False)
    (folder / "home" / ".aws").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder / "home"))
    (folder / "broker-helper").write_bytes(b"\x7fELF")
    monkeypatch.setattr(installed_helper, "path", lambda: folder / "broker-helper")
    (folder / "config.toml").write_text(CONFIG)
    (folder / "config.toml").chmod(0o600)
    return folder / "home"


@pytest.fixture
def file(home: Path) -> Path:
    """Give the AWS config, which is not there yet."""
    return home / ".aws" / "config"


@pytest.fixture
def setup(type_: Type) -> Setup:
    """Give `setup("--profile claude")`."""
    return lambda line: type_(f"setup aws {line}")


def test_a_profile_gets_our_command_and_loses_it_again(setup: Setup, file: Path, folder: Path) -> None:
    """Twice is once; the undo puts every byte back, even the file's absence."""
    line = f"credential_process = {folder}/broker-helper --aws work"
    said = setup("--profile claude --credential work")
    assert (said.code, said.err) == (0, "")
    assert f"{file}: [profile claude] {line}\n" in said.out
    assert file.read_text() == f"[profile claude]\n{line}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert setup("--profile claude --credential work").out == f"{file}: set up already\n"
    assert setup("--profile claude --undo --dry-run").out == f"would be: {file}: removed, as before\n"
    assert setup("--profile claude --undo").out == f"{file}: removed, as before\n"
    assert not file.exists()
    assert "nothing was set up in profile claude" in setup("--profile claude --undo").out


def test_a_profile_without_a_region_is_told_how_to_get_one(
    setup: Setup, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The AWS CLI has none of another profile, and would refuse the very command that is suggested."""
    wanted = "aws configure set region eu-west-1 --profile "
    assert f"{wanted}one\n" in setup("--profile one --credential regional").out
    assert "aws configure set region REGION --profile two\n" in setup("--profile two --credential work").out
    file.write_text("[profile three]\nregion = us-east-1\n")
    assert wanted not in setup("--profile three --credential regional").out
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    assert wanted not in setup("--profile four --credential regional").out


def test_the_rest_of_the_file_stays_over_several_setups(setup: Setup, file: Path) -> None:
    """Two profiles, one of them twice for another credential, undone in the order of their making."""
    file.write_text(THEIRS)
    for options in (
        "--profile one --credential work",
        "--profile two --credential own",
        "--profile one --credential own",
    ):
        assert setup(options).code == 0, options
    assert file.read_text().startswith(THEIRS)
    assert setup("--profile one --undo").code == 0
    assert "[profile two]" in file.read_text()
    assert setup("--profile two --undo").code == 0
    assert file.read_text() == THEIRS


def test_what_a_person_wrote_since_stays(setup: Setup, file: Path) -> None:
    """Only our line goes; where they changed it, that stays too."""
    file.write_text(THEIRS)
    setup("--profile one --credential work")
    file.write_text(file.read_text() + "region = x\n")
    setup("--profile one --undo")
    assert file.read_text() == f"{THEIRS}[profile one]\nregion = x\n"
    setup("--profile one --credential work")
    file.write_text(changed := file.read_text().replace("--aws work", "--aws other"))
    assert setup("--profile one --undo").out == f"{file}: profile one has nothing of ours\n"
    assert file.read_text() == changed
    setup("--profile two --credential work")
    file.unlink()
    assert setup("--profile two --undo").code == 0


def test_another_program_is_replaced_only_by_consent(setup: Setup, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its words are not shown; the undo brings it back, also when somebody edited the file meanwhile."""
    file.write_text(text := f"[profile one]\ncredential_process = /bin/x {SECRET}\n")
    said = setup("--profile one --credential work")
    assert (said.code, SECRET in said.out + said.err) == (64, False)
    assert "profile one has another credential_process now; to go on: --yes" in said.err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr(click, "confirm", lambda _question: False)
    assert setup("--profile one --credential work").code == 1
    assert file.read_text() == text
    assert setup("--profile one --credential work --yes").code == 0
    file.write_text(file.read_text() + "region = x\n")
    assert setup("--profile one --undo").code == 0
    assert file.read_text() == f"{text}region = x\n"


def test_a_link_that_leads_nowhere_yet_is_followed_and_nothing_of_it_stays(
    setup: Setup, file: Path, folder: Path
) -> None:
    """The folders on its way are made, and go with the undo; not one in which somebody keeps something by then."""
    (folder / "dotfiles").mkdir()
    target = folder / "dotfiles" / "cloud" / "aws" / "config"
    file.symlink_to(target)
    assert setup("--profile claude --credential work").code == 0
    assert setup("--profile claude --credential chained --yes").code == 0
    assert target.exists()
    assert setup("--profile claude --undo").code == 0
    assert list((folder / "dotfiles").iterdir()) == []
    assert file.is_symlink()
    setup("--profile claude --credential work")
    (target.parent.parent / "kept").touch()
    setup("--profile claude --undo")
    assert [path.name for path in (folder / "dotfiles" / "cloud").iterdir()] == ["kept"]


def test_a_dry_run_changes_nothing(setup: Setup, file: Path, folder: Path) -> None:
    """Neither file nor record."""
    said = setup("--profile one --credential work --dry-run")
    assert said.out.endswith("nothing was changed (--dry-run)\n")
    assert not file.exists()
    assert not (folder / "state").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--credential work", "Missing option '--profile'"),
        ("--profile a\\ b --credential work", "--profile: letters, digits"),
        ("--profile one", "say which credential: --credential work|chained|own|regional|key"),
        ("--profile one --credential key", "key is of kind bedrock-api-key"),
        ("--profile corp --credential work", "so the broker would ask itself"),
        ("--profile default --credential chained", "so the broker would ask itself"),
        ("--profile corp --credential own", "profile corp has sso_session in"),
        ("--profile keyed --credential own", "profile keyed has aws_access_key_id in"),
        ("--profile other --credential own", "profile other has credential_process in"),
    ],
)
def test_what_would_not_work_is_one_line(setup: Setup, file: Path, options: str, said: str) -> None:
    """Such as a profile whose other credentials win, and the profile that the credential itself comes from."""
    file.write_text(THEIRS)
    (file.parent / "credentials").write_text(
        f"[keyed]\naws_access_key_id = AKIA\naws_secret_access_key = {SECRET}\n[other]\ncredential_process = x\n"
    )
    answer = setup(options)
    assert answer.code == 64
    assert said in answer.err
    assert answer.err.count("\n") == 1
    assert file.read_text() == THEIRS


def test_a_missing_helper_and_a_broken_record_are_told(setup: Setup, folder: Path, file: Path) -> None:
    """Nothing is guessed from a record that is none."""
    setup("--profile one --credential work")
    (kept,) = (folder / "state" / "setup").iterdir()
    kept.write_text("{}")
    assert "no record of this version" in setup("--profile one --undo").err
    (folder / "broker-helper").unlink()
    assert "is missing; reinstall" in setup("--profile one --credential work").err
    assert file.exists()
