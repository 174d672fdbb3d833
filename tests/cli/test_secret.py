"""`broker secret`: what a person types, with a daemon and without one."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from broker import os_keyring
from broker.cli.secret import secret_command
from broker.storage import loading
from broker.storage.header import Cost
from broker.storage.loading import NO_HOME
from tests.cli.conftest import Type
from tests.fakes.control import Script
from tests.fakes.keyring import FakeKeyring

Pipe = Callable[[bytes], None]


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Pipe:
    """Give `pipe(bytes)`: what the next command finds on stdin."""
    return lambda given: monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given)))


@pytest.fixture
def keyring(monkeypatch: pytest.MonkeyPatch) -> FakeKeyring:
    """Give a machine without a keyring, until `trouble` is taken away."""
    found = FakeKeyring()
    found.trouble = os_keyring.NoKeyring("this system has no keyring that works")
    monkeypatch.setattr(os_keyring, "ask", found.ask)
    return found


# --- through the daemon -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n"])
def test_a_value_comes_from_stdin_without_its_newline(type_: Type, control: Script, pipe: Pipe, ending: bytes) -> None:
    """The daemon stores it; nothing of it is printed."""
    pipe(b"fake-token-1" + ending)
    said = type_("secret set work")
    assert (said.code, said.out, said.err) == (0, "stored work\n", "")
    assert control.asks == ['PUT /v1/secrets/work {"value": "fake-token-1"}']


def test_a_document_is_stored_in_one_line(type_: Type, control: Script, pipe: Pipe) -> None:
    """A service account's key comes as a file of many lines: `broker secret set google < key.json`."""
    pipe(b'{\n  "type": "fake",\n  "private_key": "a\\nb"\n}\n')
    assert type_("secret set google").code == 0
    (ask,) = control.asks
    stored = json.loads(ask.removeprefix("PUT /v1/secrets/google "))["value"]
    assert stored == '{"type":"fake","private_key":"a\\nb"}'


def test_a_value_on_a_terminal_is_typed_without_echo(
    type_: Type, control: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The question goes to stderr, and the answer nowhere."""
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.termui.hidden_prompt_func", lambda _prompt: "fake-token-1")
    said = type_("secret set work")
    assert (said.code, said.out) == (0, "stored work\n")
    assert control.asks[-1] == 'PUT /v1/secrets/work {"value": "fake-token-1"}'


LOCKED = "the broker is locked, so nothing can be stored; run: broker unlock"
WANTED = "nothing is stored until you choose a passphrase; run: broker unlock"


@pytest.mark.parametrize(
    ("daemon", "why"),
    [({"locked": True}, LOCKED), ({"warnings": [{"code": "passphrase-wanted", "message": WANTED}]}, WANTED)],
)
def test_nobody_is_asked_for_a_value_that_cannot_be_stored(
    type_: Type, control: Script, monkeypatch: pytest.MonkeyPatch, daemon: dict[str, object], why: str
) -> None:
    """It would be typed in vain."""
    control.daemon |= daemon
    asked: list[str] = []

    def typed(prompt: str) -> str:
        asked.append(prompt)
        return "fake-token-1"

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.termui.hidden_prompt_func", typed)
    said = type_("secret set work")
    assert (said.code, said.err, asked) == (77, f"broker: {why}\n", [])


def test_a_value_on_the_command_line_is_refused_unquoted(type_: Type, control: Script) -> None:
    """Others can read it there; it is not repeated, and not stored."""
    said = type_("secret set work fake-token-1")
    assert said.code == 64
    assert "does not belong on the command line" in said.err
    assert "fake-token" not in said.err
    assert control.asks == []


@pytest.mark.parametrize("given", [b"x" * 65_537, b"\xff\xfe"])
def test_what_is_no_text_or_far_too_long_is_refused(type_: Type, control: Script, pipe: Pipe, given: bytes) -> None:
    """Before anybody is asked."""
    pipe(given)
    said = type_("secret set work")
    assert (said.code, said.out) == (64, "")
    assert said.err.startswith("broker: stdin: ")
    assert control.asks == []


def test_the_daemons_no_is_passed_on(type_: Type, control: Script, pipe: Pipe) -> None:
    """Where nothing can be stored: exit code 78, and what one can choose from."""
    control.errors["/v1/secrets/work"] = (500, "storage", "there is no place for the key; choose one")
    pipe(b"fake-token-1")
    said = type_("secret set work")
    assert (said.code, said.err) == (78, "broker: there is no place for the key; choose one\n")


def test_the_choice_of_a_passphrase_is_one_command_and_without_a_terminal_three() -> None:
    """In their order: a daemon that runs (set-up started one) reads `persist` when it starts, and only then."""
    words = ("broker secret set NAME", 'persist = "passphrase"', "broker restart", "broker unlock")
    places = [NO_HOME.find(word) for word in words]
    assert places[0] > 0
    assert places == sorted(places)


@pytest.mark.usefixtures("keyring")
def test_without_a_keyring_a_daemon_is_given_a_passphrase_at_once(
    type_: Type, control: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for when the daemon says that it has no place for the key; then the value, typed once, is stored."""
    control.errors["/v1/secrets/work"] = (500, "no-key-home", NO_HOME)

    def typed(prompt: str) -> str:
        if prompt.startswith("Repeat"):
            del control.errors["/v1/secrets/work"]  # what the unlock brings about
        return "fake-token-1" if prompt.startswith("Value") else "fake-passphrase"

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.termui.hidden_prompt_func", typed)
    said = type_("secret set work")
    assert (said.code, said.out) == (0, "stored work\n")
    assert control.asks[-2:] == [
        'POST /v1/unlock {"passphrase": "fake-passphrase"}',
        'PUT /v1/secrets/work {"value": "fake-token-1"}',
    ]


def test_a_daemon_that_misses_the_keyring_of_this_session_is_given_no_passphrase(
    type_: Type, control: Script, keyring: FakeKeyring, pipe: Pipe
) -> None:
    """One that was started by ssh, say: a restart from here finds it."""
    keyring.trouble = None
    control.errors["/v1/secrets/work"] = (500, "no-key-home", NO_HOME)
    pipe(b"fake-token-1")
    said = type_("secret set work")
    assert (said.code, said.err.endswith("started outside of it; run: broker restart\n")) == (78, True)


def test_names_are_listed_for_people_and_for_programs(type_: Type, control: Script) -> None:
    """One a line, or JSON; nothing at all where nothing is stored."""
    control.raw["/v1/secrets"] = b'{"secrets": ["play", "work"]}'
    assert type_("secret list").out == "play\nwork\n"
    assert json.loads(type_("secret list --json").out) == {"secrets": ["play", "work"]}
    control.raw["/v1/secrets"] = b'{"secrets": []}'
    assert type_("secret list").out == ""


def test_deleting_says_what_it_did(type_: Type, control: Script) -> None:
    """And for a typing error what was probably meant."""
    control.raw["/v1/secrets/work"] = b'{"secret": "work", "deleted": true}'
    assert type_("secret delete work").out == "deleted work\n"
    control.raw["/v1/secrets/wrok"] = b'{"secret": "wrok", "deleted": false}'
    control.raw["/v1/secrets"] = b'{"secrets": ["work"]}'
    said = type_("secret delete wrok")
    assert (said.code, said.err) == (78, "broker: no secret is stored as 'wrok'; did you mean work?\n")


@pytest.mark.usefixtures("folder")
def test_a_name_completes_to_what_is_stored(control: Script) -> None:
    """From the daemon; a completion never complains."""
    command = secret_command.commands["delete"]
    context = click.Context(command)

    def completed() -> list[str]:
        return [item.value for item in command.params[0].shell_complete(context, "w")]

    control.raw["/v1/secrets"] = b'{"secrets": ["play", "work"]}'
    assert completed() == ["work"]
    control.errors["/v1/secrets"] = (423, "locked", "locked")
    assert completed() == []


# --- without a daemon -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("key")
def test_without_a_daemon_it_is_stored_all_the_same(type_: Type, folder: Path, pipe: Pipe) -> None:
    """In the encrypted file, before there is a config even; and found again."""
    pipe(b"fake-token-1\n")
    assert type_("secret set work").code == 0
    assert type_("secret list").out == "work\n"
    assert b"fake-token" not in (folder / "state" / "cache.bin").read_bytes()
    assert type_("secret delete work").code == 0
    assert type_("secret delete work").code == 78


@pytest.mark.usefixtures("key")
def test_a_config_with_other_mistakes_does_not_stop_it(type_: Type, folder: Path, pipe: Pipe) -> None:
    """A secret in the config is mended by this very command; its own table must be right."""
    config = folder / "config.toml"
    config.write_text('[credentials.work]\nsource = "vault"\ntoken = "fake-token-1"\n')
    config.chmod(0o600)
    pipe(b"fake-token-1")
    assert type_("secret set work").code == 0
    config.write_text('[daemon]\npersist = "of"\n')
    said = type_("secret list")
    assert said.code == 78
    assert "daemon.persist: expected one of" in said.err


def test_where_there_is_no_place_for_a_key_the_choices_are_explained(type_: Type, folder: Path, pipe: Pipe) -> None:
    """Exit code 78; nothing is written."""
    (folder / "config.toml").write_text('[daemon]\npersist = "off"\n')
    (folder / "config.toml").chmod(0o600)
    pipe(b"fake-token-1")
    said = type_("secret set work")
    assert said.code == 78
    assert said.err.count("\n") == 1
    for choice in ("keyring", "broker-cache-key", "passphrase"):
        assert choice in said.err
    assert not (folder / "state" / "cache.bin").exists()


@pytest.mark.usefixtures("key")
def test_a_file_whose_key_only_the_daemon_is_given_is_left_to_it(
    type_: Type, pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the message says to start it."""
    pipe(b"fake-token-1")
    type_("secret set work")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    said = type_("secret list")
    assert said.code == 77
    assert said.err.endswith("or let the daemon do it: broker start\n")


@pytest.mark.usefixtures("key")
def test_a_store_that_cannot_be_read_is_one_line(
    type_: Type, pipe: Pipe, spawn: Callable[..., subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process of its own, where Python prints what is logged and no log was set up."""
    pipe(b"fake-token-1")
    type_("secret set work")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    _, said = spawn("secret list").communicate(timeout=30)
    assert said.startswith("broker: ")
    assert len(said.splitlines()) == 1


@pytest.mark.usefixtures("key")
def test_a_store_that_had_to_be_set_aside_is_told_with_what_was_done(
    folder: Path, spawn: Callable[..., subprocess.Popen[str]]
) -> None:
    """Without a daemon there is no status to read it in."""
    (folder / "state").mkdir(mode=0o700)
    (folder / "state" / "cache.bin").write_bytes(b"no store of ours")
    process = spawn("secret list")
    out, said = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "")
    assert said.startswith("broker: warning: ")
    assert "cache.bin" in said
    assert len(said.splitlines()) == 1


@pytest.mark.slow
def test_a_passphrase_is_asked_for_twice_and_then_once(
    type_: Type, folder: Path, monkeypatch: pytest.MonkeyPatch, pipe: Pipe
) -> None:
    """A new one twice; from a pipe it cannot be asked for, and that is said."""
    config = folder / "config.toml"
    config.touch(0o600)
    alone = '[daemon]\npersist = "passphrase"\n'
    for text, first in (
        (alone, "broker setup claude-code; then: broker unlock"),  # which alone ends with: names no credential
        (alone + "[credentials.work]\nsource = 'local'\n", "broker unlock"),
    ):
        config.write_text(text)
        pipe(b"fake-token-1")
        said = type_("secret set work")
        wanted = f"broker: the passphrase is needed, and stdin is no terminal to ask for it; run first: {first}\n"
        assert (said.code, said.err) == (77, wanted)
    asked: list[str] = []

    def typed(prompt: str) -> str:
        asked.append(prompt)
        return "fake-token-1" if prompt.startswith("Value") else "fake-passphrase"

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.termui.hidden_prompt_func", typed)
    assert type_("secret set work").code == 0
    assert [prompt.split()[0] for prompt in asked] == ["Value", "New", "Repeat"]
    asked.clear()
    assert type_("secret list").out == "work\n"
    assert asked == ["Passphrase: "]


@pytest.mark.slow
@pytest.mark.usefixtures("keyring")
def test_without_a_keyring_a_passphrase_is_chosen_on_the_way(
    type_: Type, monkeypatch: pytest.MonkeyPatch, pipe: Pipe
) -> None:
    """No config to write first: the file itself says that a passphrase opens it. From a pipe the one command is named."""
    monkeypatch.setattr(loading, "Cost", lambda: Cost(log_n=14))  # quick
    pipe(b"fake-token-1")
    said = type_("secret set work")
    assert (said.code, said.err) == (78, f"broker: {NO_HOME}\n")
    answers = iter(["fake-token-1", "short", "short", "fake-passphrase", "fake-passphrase", "fake-passphrase"])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.termui.hidden_prompt_func", lambda _prompt: next(answers))
    said = type_("secret set work")
    assert (said.code, said.out) == (0, "stored work\n")
    assert "broker unlock" in said.err, "what it means for the days to come"
    assert type_("secret list").out == "work\n"
    assert list(answers) == [], "the passphrase is asked for from then on"
