"""`broker doctor` on the real daemon and the real helper, after a real set-up: faults planted as they happen to people."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Mapping

import pytest

from tests.real.conftest import Need, minting_config
from tests.real.hanging import can_hang, hanging
from tests.real.installed import BROKER, HELPER, Daemon, Place, running
from tests.real.process import DEADLINE_S
from tests.real.systemd_user import UserManager, give, missing, user_manager
from tests.real.upstream import Upstream

pytestmark = pytest.mark.real


class Person:
    """Somebody with a home, whose Claude Code asks our helper."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.settings = place.folder / ".claude" / "settings.json"

    def types(self, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Type a command."""
        return subprocess.run(
            [str(BROKER), *arguments],
            env={**self.place.env, "HOME": str(self.place.folder), "PATH": "/usr/bin:/bin", **(env or {})},
            cwd=self.place.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    def is_told(self, env: Mapping[str, str] | None = None) -> tuple[int, set[str]]:
        """Ask the doctor; return its exit code and the codes of what is worse than advice."""
        done = self.types("doctor", "--json", env=env)
        assert done.stderr == ""
        answer = json.loads(done.stdout)
        assert answer["summary"]["exit"] == done.returncode
        assert "fake-token" not in done.stdout
        bad = {found["code"] for found in answer["findings"] if found["severity"] in {"warning", "error"}}
        return done.returncode, bad


@pytest.fixture
def person(place: Place, upstream: Upstream) -> Iterator[tuple[Person, Daemon]]:
    """Set somebody up by the commands that people use."""
    upstream.mint.lifetime_s = 3600
    place.configure(minting_config(upstream))
    made = Person(place)
    with running(place) as daemon:
        done = made.types("setup", "claude-code", "--credential", "work", "--base-url", upstream.url, "--yes")
        assert done.returncode == 0, done.stderr
        yield made, daemon


def test_after_a_set_up_all_is_well(person: tuple[Person, Daemon]) -> None:
    """Nothing over advice, the native helper answers in milliseconds, and no token was fetched for it or shown."""
    somebody, _ = person
    served = somebody.place.credential("work")["served"]
    done = somebody.types("doctor")
    assert (done.returncode, done.stderr) == (0, "")
    assert "ok        helper" in done.stdout
    assert somebody.place.credential("work")["served"] == served


def test_planted_faults_are_found_one_by_one(person: tuple[Person, Daemon], upstream: Upstream) -> None:
    """Each as it happens to people, on what they really run."""
    somebody, daemon = person
    place = somebody.place
    good_settings, good_config = somebody.settings.read_text(), place.config.read_text()

    assert somebody.is_told({"ANTHROPIC_API_KEY": "fake-key-1"}) == (2, {"stray-key"})
    assert somebody.is_told({"ANTHROPIC_BASE_URL": "http://127.0.0.1:1"}) == (0, set())  # the settings' own wins

    somebody.settings.write_text(good_settings.replace(str(HELPER), "/nowhere/broker-helper"))
    assert somebody.is_told() == (2, {"helper-gone"})
    somebody.settings.write_text(good_settings.replace(upstream.url, "https://thief.example"))
    assert somebody.is_told() == (2, {"audience-mismatch"})
    somebody.settings.write_text(good_settings.replace('"1800000"', '"7200000"'))
    code, bad = somebody.is_told()
    assert (code, "ttl-too-long" in bad) == (1, True)
    somebody.settings.write_text(good_settings)

    place.configure(good_config + '\n[credentials.more]\nsource = "demo"\n')
    assert "daemon-config" in somebody.is_told()[1]
    place.configure("[credentials.work]\nsuorce = 1\n")
    assert "config" in somebody.is_told()[1]
    place.configure(good_config)

    place.socket.chmod(0o666)
    assert "socket-unsafe" in somebody.is_told()[1]
    place.socket.chmod(0o600)

    daemon.kill()
    assert somebody.is_told()[1] == {"daemon-not-running"}  # BROKER_AUTOSTART=0; the source itself still answers
    place.configure(good_config.replace(upstream.mint_url, "http://127.0.0.1:1/"))
    assert "source-failed" in somebody.is_told()[1]


@pytest.fixture
def manager(need: Need, place: Place) -> Iterator[UserManager]:
    """A real user manager, whose user has a config."""
    lacking = missing()
    need(lacking is None, str(lacking))
    place.folder.chmod(0o755)
    with user_manager(place.folder / "home") as started:
        started.config.parent.mkdir(parents=True)
        write_config(started, '[credentials.work]\nsource = "demo"\n')
        yield started


def write_config(manager: UserManager, text: str) -> None:
    """Write the config as its user would."""
    manager.config.write_text(text)
    manager.config.chmod(0o600)
    give(manager.home)


def of_systemd(manager: UserManager) -> set[str]:
    """Ask the doctor for what it says of systemd and the daemon."""
    answer = json.loads(manager.run(str(BROKER), "doctor", "--json").stdout)
    return {found["code"] for found in answer["findings"] if found["area"] in {"systemd", "daemon"}}


def test_units_of_a_real_manager_are_examined(manager: UserManager) -> None:
    """Fine as setup leaves them; then a unit that was edited, and one that failed."""
    assert of_systemd(manager) == {"daemon-not-running", "systemd"}
    assert manager.setup().returncode == 0
    assert of_systemd(manager) == {"daemon", "systemd"}  # to look for the daemon starts it, as every ask does

    unit = manager.units / "broker.service"
    unit.write_text(unit.read_text() + "Nice=5\n")
    give(manager.home)
    assert {"unit-edited", "unit-stale"} <= of_systemd(manager)
    assert manager.setup("--force").returncode == 0

    manager.run(str(BROKER), "stop")
    write_config(manager, "broken")
    manager.run(str(BROKER), "start")
    assert of_systemd(manager) == {"unit-failed", "daemon-silent"}


@pytest.mark.alone
def test_a_file_system_that_hangs_is_told_and_not_waited_for(need: Need, place: Place) -> None:
    """Ten seconds at most; the process ends by itself, and areas that do not depend on it are told as ever."""
    need(can_hang(), "FUSE (root and /dev/fuse) is missing")
    began = time.monotonic()
    with hanging(place.folder / "stuck") as stuck:
        done = Person(place).types("doctor", "--json", env={"BROKER_CONFIG": str(stuck / "config.toml")})
    assert time.monotonic() - began < 12
    answer = json.loads(done.stdout)
    assert done.returncode == 1
    hung = {found["what"].partition(":")[0] for found in answer["findings"] if found["code"] == "check-hangs"}
    assert "config" in hung
    assert not {"systemd", "Claude Code", "helper"} & hung
