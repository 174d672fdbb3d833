"""What a person can rely on of the file at rest when its key lies in the desktop's keyring: the real gnome-keyring."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.real.conftest import minting_config
from tests.real.installed import Place, running
from tests.real.process import wait_until
from tests.real.secret_service import PROGRAMS, SecretService, secret_service
from tests.real.test_restart import Starts, ask, first_answer, starting
from tests.real.test_stored import broker, status
from tests.real.upstream import Upstream

pytestmark = pytest.mark.real

TRIES: Final = 8
"""The machine may be busy with other things: one start in so many shows how quick it is."""


@contextmanager
def a_desktop(folder: Path) -> Iterator[SecretService]:
    """Run one."""
    folder.mkdir(mode=0o700)
    with secret_service(folder) as started:
        yield started


@pytest.fixture
def keyring(place: Place, need_program: Callable[[str], str]) -> Iterator[SecretService]:
    """A desktop session with an unlocked keyring."""
    for program in PROGRAMS:
        need_program(program)
    with a_desktop(place.folder / "desktop") as started:
        yield started


def cache(place: Place) -> Path:
    """Name the file."""
    return place.folder / "state" / "cache.bin"


def warnings(place: Place) -> dict[str, str]:
    """Return the daemon's warnings, messages by code."""
    return {found["code"]: found["message"] for found in status(place)["daemon"]["warnings"]}


def set_aside(place: Place) -> list[str]:
    """Name the files that were set aside."""
    return [path.name for path in cache(place).parent.glob("cache.bin.set-aside-*")]


@pytest.mark.alone
def test_after_kill_9_the_first_token_comes_as_fast_with_a_keyring(
    place: Place, keyring: SecretService, upstream: Upstream
) -> None:
    """Within 500 ms of the start, the keyring's answer included, without asking the source."""
    upstream.mint.lifetime_s = 3600.0
    place.configure(minting_config(upstream))
    with running(place, env=keyring.env) as daemon:
        assert ask(place) == "fake-token-1"
        wait_until(cache(place).exists, "the token is on the disk")
        daemon.kill()
    starts = Starts()
    while not starts.quick and len(starts.took) < TRIES:
        began = time.monotonic()
        with starting(place, keyring.env) as daemon:
            assert first_answer(place) == "fake-token-1"
            took_s = time.monotonic() - began
            daemon.kill()
        starts.note(took_s)
    assert starts.quick, starts
    assert upstream.mint.count == 1, "the source was asked again"


def test_a_lost_keyring_costs_what_was_stored_and_nothing_else(place: Place, keyring: SecretService) -> None:
    """The daemon starts, says what it could not read and where it put it, and stores anew; the old file is kept."""
    place.configure('[credentials.work]\nsource = "local"\n')
    assert broker(place, keyring, "secret", "set", "work", given="fake-token-1\n").returncode == 0
    before = cache(place).read_bytes()
    with a_desktop(place.folder / "new") as another, running(place, env=another.env):
        assert place.ask("work").returncode == 69
        [name] = set_aside(place)
        assert name.startswith("cache.bin.set-aside-foreign-")
        assert name in warnings(place)["storage-set-aside"]
        assert cache(place).with_name(name).read_bytes() == before
        assert broker(place, another, "secret", "set", "work", given="fake-token-2\n").returncode == 0
        assert place.ask("work").stdout == "fake-token-2\n"


def test_an_older_file_put_back_brings_no_revoked_secret_back(place: Place, keyring: SecretService) -> None:
    """The keyring counts the writes: a copy from before the revocation is set aside, and nothing of it is served."""
    place.configure('[credentials.work]\nsource = "local"\n')
    broker(place, keyring, "secret", "set", "work", given="fake-token-1\n")
    old = place.folder / "old"
    shutil.copy2(cache(place), old)
    with running(place, env=keyring.env) as daemon:
        assert broker(place, keyring, "secret", "delete", "work").returncode == 0
        assert daemon.stop() == 0
    shutil.copy2(old, cache(place))
    with running(place, env=keyring.env):
        assert place.ask("work").returncode == 69
        assert "older one put back" in warnings(place)["storage-older"]
        assert set_aside(place)[0].startswith("cache.bin.set-aside-older-")


def test_a_daemon_killed_right_after_storing_finds_its_file_good(place: Place, keyring: SecretService) -> None:
    """Whether or not the keyring was told of the newest write: it is never taken for an older one."""
    place.configure('[credentials.work]\nsource = "local"\n')
    for number in range(5):
        with running(place, env=keyring.env) as daemon:
            assert broker(place, keyring, "secret", "set", "work", given=f"fake-token-{number}\n").returncode == 0
            daemon.kill()
    with running(place, env=keyring.env):
        assert place.ask("work").stdout == "fake-token-4\n"
        assert warnings(place) == {}


def test_the_keyring_holds_a_key_and_a_count_and_no_secret(place: Place, keyring: SecretService) -> None:
    """What a person finds there is what SECURITY.md says; what they stored is in the file alone."""
    place.configure('[credentials.work]\nsource = "local"\n')
    broker(place, keyring, "secret", "set", "work", given="fake-token-1\n")
    key = keyring.read("claude-credential-broker", "cache-key")
    count = keyring.read("claude-credential-broker", f"newest write in {cache(place).parent}")
    assert len(bytes.fromhex(key)) == 32
    assert int(count.split()[1]) >= 1
    stored = b"".join(path.read_bytes() for path in (place.folder / "desktop").rglob("*.keyring"))
    assert stored
    assert b"fake-token" not in stored
