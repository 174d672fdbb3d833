"""`broker lock` and `broker unlock`."""

from __future__ import annotations

import io

import pytest

from tests.cli.conftest import Type
from tests.fakes.control import Script


def test_lock_says_how_to_get_back(type_: Type, control: Script) -> None:
    """One call."""
    assert type_("lock").out == "locked; back with: broker unlock\n"
    assert control.asks == ["POST /v1/lock {}"]


def test_lock_without_a_daemon_does_not_claim_anything(type_: Type, folder: object) -> None:
    """Perhaps it runs on another socket."""
    assert type_("lock").code == 69


def test_unlock_asks_for_nothing_where_the_key_is_at_hand(type_: Type, control: Script) -> None:
    """A keyring, or the service manager's credential."""
    assert type_("unlock").out == "unlocked\n"
    assert control.asks == ["POST /v1/unlock {}"]


def test_a_keyring_that_is_away_is_said_as_the_daemon_says_it(type_: Type, control: Script) -> None:
    """No passphrase can mend that."""
    control.errors["/v1/unlock"] = (423, "locked", "the keyring is locked")
    control.daemon["persist"] = "keyring"
    said = type_("unlock")
    assert (said.code, said.err) == (77, "broker: the keyring is locked\n")


@pytest.mark.parametrize("locked", [True, False])
def test_a_passphrase_is_read_from_stdin_in_a_pipe(
    type_: Type, control: Script, monkeypatch: pytest.MonkeyPatch, *, locked: bool
) -> None:
    """When it is the key: never from the command line."""
    control.errors["/v1/unlock"] = (423, "locked", "this is not the passphrase; run: broker unlock")
    control.daemon |= {"persist": "passphrase", "locked": locked}
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"fake-passphrase\n")))
    said = type_("unlock")
    assert (said.code, said.err) == (77, "broker: this is not the passphrase; run: broker unlock\n")
    assert control.asks[-1] == 'POST /v1/unlock {"passphrase": "fake-passphrase"}'


@pytest.mark.parametrize(("locked", "questions"), [(True, ["Passphrase:"]), (False, ["New", "Repeat"])])
def test_a_new_passphrase_is_typed_twice(
    type_: Type, control: Script, monkeypatch: pytest.MonkeyPatch, *, locked: bool, questions: list[str]
) -> None:
    """A slip of the finger would lock everything away for good."""
    control.errors["/v1/unlock"] = (423, "locked", "the passphrase is needed; run: broker unlock")
    control.daemon |= {"persist": "passphrase", "locked": locked}
    asked: list[str] = []

    def typed(prompt: str) -> str:
        asked.append(prompt.split(maxsplit=1)[0])
        return "fake-passphrase"

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.termui.hidden_prompt_func", typed)
    type_("unlock")
    assert asked == questions
