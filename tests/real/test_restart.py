"""What one daemon had, the next one has: tokens at rest, under a key as the service manager hands it over."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

import pytest

from tests.fakes.handed_key import hand_key
from tests.real.conftest import minting_config
from tests.real.installed import BROKER, Daemon, Place, running
from tests.real.process import terminate, wait_until
from tests.real.upstream import Upstream

pytestmark = pytest.mark.real

FIRST_TOKEN_S: Final = 0.5
LOADING_S: Final = 0.2
"""What aiohttp takes to load on the machines that this is promised for; a slower one gets as much more time."""
TRIES: Final = 5
"""The machine may be busy with other things: one start in so many shows how quick it is."""


@dataclass
class Starts:
    """How long starts took, in seconds, and right after each late one how long aiohttp alone took to load."""

    took: list[float] = field(default_factory=list)
    loading: list[float] = field(default_factory=list)

    def note(self, took_s: float) -> None:
        """Take one up."""
        self.took.append(took_s)
        if took_s >= FIRST_TOKEN_S:
            began = time.monotonic()
            subprocess.run([sys.executable, "-c", "import aiohttp.web"], env={}, check=True)
            self.loading.append(time.monotonic() - began)

    @property
    def quick(self) -> bool:
        """Whether one was as quick as promised."""
        slowness = max(1.0, min(self.loading, default=0.0) / LOADING_S)
        return min(self.took, default=math.inf) < FIRST_TOKEN_S * slowness


@pytest.fixture
def keyed(place: Place, upstream: Upstream) -> dict[str, str]:
    """A config that asks the upstream's mint, and a key beside it: what the daemon's environment says of that."""
    upstream.mint.lifetime_s = 3600.0
    place.configure(minting_config(upstream))
    return hand_key(place.folder)


@pytest.mark.alone
def test_after_kill_9_the_first_token_comes_from_the_cache(
    place: Place, upstream: Upstream, keyed: dict[str, str]
) -> None:
    """Within 500 ms of the start, without asking the source; and its age counts on."""
    with running(place, env=keyed) as daemon:
        assert ask(place) == "fake-token-1"
        wait_until((place.folder / "state" / "cache.bin").exists, "the token is on the disk")
        daemon.kill()
    expires_at = upstream.mint.issued[0].expires_at
    assert expires_at is not None
    starts = Starts()
    while not starts.quick and len(starts.took) < TRIES:
        began = time.monotonic()
        with starting(place, keyed) as daemon:
            assert first_answer(place) == "fake-token-1"
            took_s = time.monotonic() - began
            asked_at = time.time()
            left_s = place.credential("work")["expires_in_s"]
            assert expires_at - time.time() - 2 < left_s <= expires_at - asked_at + 1
            daemon.kill()
        starts.note(took_s)
    assert starts.quick, starts
    assert upstream.mint.count == 1, "the source was asked again"


def test_a_refused_token_never_comes_back(place: Place, upstream: Upstream, keyed: dict[str, str]) -> None:
    """From the moment it is reported, whatever happens to the daemon: the next one asks the source."""
    with running(place, env=keyed) as daemon:
        assert ask(place) == "fake-token-1"
        wait_until((place.folder / "state" / "cache.bin").exists, "the token is on the disk")
        written = (place.folder / "state" / "cache.bin").read_bytes()
        upstream.mint.delay_s = 30.0  # the replacement does not come in time
        fingerprint = place.credential("work")["fingerprint"]
        place.call("POST", "/v1/rejected", {"credential": "work", "fingerprint": fingerprint, "status": 401})
        wait_until(lambda: (place.folder / "state" / "cache.bin").read_bytes() != written, "it is off the disk")
        daemon.kill()
    upstream.mint.delay_s = 0.0
    with running(place, env=keyed):
        assert ask(place) != "fake-token-1"


def test_another_config_revives_no_old_token(place: Place, upstream: Upstream, keyed: dict[str, str]) -> None:
    """What was fetched by other settings is another credential's, whatever its name."""
    with running(place, env=keyed) as daemon:
        assert ask(place) == "fake-token-1"
        wait_until((place.folder / "state" / "cache.bin").exists, "the token is on the disk")
        daemon.kill()
    place.configure(minting_config(upstream) + 'format = "json"\n')
    with running(place, env=keyed):
        assert ask(place) == "fake-token-2"


def test_nothing_readable_lies_on_the_disk(place: Place, keyed: dict[str, str]) -> None:
    """Neither in the cache nor beside it."""
    with running(place, env=keyed):
        token = ask(place)
        wait_until((place.folder / "state" / "cache.bin").exists, "the token is on the disk")
    for path in (place.folder / "state").iterdir():
        assert token.encode() not in path.read_bytes(), path


def ask(place: Place) -> str:
    """Ask as the helper does; fail when there is no token."""
    status, body = place.call("GET", "/v1/token")
    assert status == 200, body
    return body.decode()


def first_answer(place: Place) -> str:
    """Ask until a daemon answers."""
    answers: list[str] = []

    def answered() -> bool:
        with suppress(OSError):
            answers.append(ask(place))
        return bool(answers)

    wait_until(answered, "it answers", poll_s=0.001)
    return answers[0]


@contextmanager
def starting(place: Place, env: dict[str, str]) -> Iterator[Daemon]:
    """Start the daemon, and do not wait for it. Its coverage is not measured: that would be most of its start."""
    command = subprocess.Popen(
        [str(BROKER), "run"],
        env={"HOME": str(place.folder), "PATH": "/usr/bin:/bin"} | place.env | env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield Daemon(place, command)
    finally:
        terminate(command)
