"""`broker secret` and `broker lock` from the command line to the helper, with the real gnome-keyring for the key."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.real.installed import BROKER, Place, running
from tests.real.process import DEADLINE_S, wait_until
from tests.real.secret_service import PROGRAMS, SecretService, secret_service

pytestmark = pytest.mark.real

CONFIG = """
default = "work"
[credentials.work]
source = "local"
[credentials.minted]
source = "demo"
lifetime = "1h"
"""


@pytest.fixture
def keyring(place: Place, need_program: Callable[[str], str]) -> Iterator[SecretService]:
    """An unlocked keyring, and a config with a stored secret and a minted token."""
    for program in PROGRAMS:
        need_program(program)
    place.configure(CONFIG)
    with secret_service(place.folder) as started:
        yield started


def test_a_stored_secret_survives_and_is_locked_away(place: Place, keyring: SecretService) -> None:
    """Stored without a daemon, served by one, changed under it, locked and unlocked, and there after kill -9."""
    assert broker(place, keyring, "secret", "set", "work", given="fake-token-1\n").stdout == "stored work\n"
    with running(place, env=keyring.env) as daemon:
        assert place.ask().stdout == "fake-token-1\n"
        assert broker(place, keyring, "secret", "set", "work", given="fake-token-2\n").returncode == 0
        assert place.ask().stdout == "fake-token-2\n"
        assert broker(place, keyring, "lock").returncode == 0
        refused = place.ask()
        assert (refused.returncode, refused.stdout) == (77, "")
        assert "broker unlock" in refused.stderr
        assert broker(place, keyring, "status", "--check").returncode == 1
        assert broker(place, keyring, "unlock").returncode == 0
        assert place.ask().stdout == "fake-token-2\n"
        daemon.kill()
    with running(place, env=keyring.env):
        assert status(place)["daemon"]["persist"] == "keyring"
        assert place.ask().stdout == "fake-token-2\n"
        assert broker(place, keyring, "secret", "delete", "work").returncode == 0
        assert place.ask().returncode == 69


def test_a_locked_keyring_costs_only_what_is_stored(place: Place, keyring: SecretService) -> None:
    """Sources that need no store are served, the rest says what to do, and an unlocked keyring mends it."""
    broker(place, keyring, "secret", "set", "work", given="fake-token-1\n")
    keyring.lock()
    with running(place, env=keyring.env):
        assert place.ask("minted").stdout.startswith("demo-")
        refused = place.ask("work")
        assert (refused.returncode, refused.stdout) == (69, "")
        assert "unlock" in refused.stderr
        assert status(place)["daemon"]["locked"] is False
        assert "storage-key" in [found["code"] for found in status(place)["daemon"]["warnings"]]
        assert broker(place, keyring, "unlock").returncode == 77
        keyring.unlock()
        assert broker(place, keyring, "unlock").returncode == 0
        assert place.ask("work").stdout == "fake-token-1\n"
        wait_until(lambda: not status(place)["daemon"]["warnings"], "nothing is left to warn of")


def broker(place: Place, keyring: SecretService, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    return subprocess.run(
        [str(BROKER), *arguments],
        env=keyring.env | place.env,
        cwd=place.folder,
        input=given,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def status(place: Place) -> Any:  # noqa: ANN401  # JSON
    """Ask for the status."""
    return json.loads(place.call("GET", "/v1/status")[1])
