"""What a developer whose key lies in the desktop's keyring can rely on, with the real gnome-keyring."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.real.installed import Daemon, Place, running
from tests.real.secret_service import PROGRAMS, SecretService, secret_service

pytestmark = pytest.mark.real


@pytest.fixture
def keyring(place: Place, need_program: Callable[[str], str]) -> Iterator[SecretService]:
    """An unlocked keyring without entries."""
    for program in PROGRAMS:
        need_program(program)
    with secret_service(place.folder) as started:
        yield started


@pytest.fixture
def daemon(place: Place, keyring: SecretService) -> Iterator[Daemon]:
    """A daemon in that desktop session."""
    place.configure('[credentials.personal]\nsource = "keyring"\nservice = "anthropic"\nusername = "me"\n')
    with running(place, env=keyring.env) as started:
        yield started


@pytest.mark.usefixtures("daemon")
def test_an_entry_stored_with_the_desktops_tool_is_served(keyring: SecretService, place: Place) -> None:
    """Any program may have stored it: what counts is service and user name."""
    keyring.store("anthropic", "me", "fake-token-1")
    assert place.ask("personal").stdout == "fake-token-1\n"


@pytest.mark.usefixtures("daemon")
def test_a_missing_entry_is_named(keyring: SecretService, place: Place) -> None:
    """The error says which entry was looked for; another one is not taken for it."""
    keyring.store("anthropic", "somebody-else", "fake-token-1")
    asked = place.ask("personal")
    assert asked.returncode != 0
    assert asked.stdout == ""
    assert "anthropic" in asked.stderr
    assert len(asked.stderr.splitlines()) == 1


@pytest.mark.usefixtures("daemon")
def test_a_locked_keyring_fails_at_once_and_works_after_unlocking(keyring: SecretService, place: Place) -> None:
    """Nobody sits there to answer a password window: the ask ends with a reason, and an unlocked keyring is enough."""
    keyring.store("anthropic", "me", "fake-token-1")
    keyring.lock()
    asked = place.ask("personal")
    assert asked.returncode != 0
    assert asked.stdout == ""
    assert "locked" in asked.stderr
    keyring.unlock()
    assert place.call("POST", "/v1/refresh", {"credential": "personal"})[0] == 200
    assert place.ask("personal").stdout == "fake-token-1\n"
