"""The systemd user service, through a `systemctl` that notes what it was told. The real one: tests/real."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from broker.errors import Unreachable
from broker.integrations import systemd

SOCKET = Path("/run/user/1000/broker/broker.sock")
ENV = {"XDG_RUNTIME_DIR": "/run/user/1000"}

Systemctl = Callable[[str], Path]


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Systemctl:
    """Put a `systemctl` with this shell body on the PATH; return the file of the calls that it was given."""

    def install(body: str) -> Path:
        program, calls = tmp_path / "systemctl", tmp_path / "calls"
        program.write_text(f'#!/bin/sh\necho "$*" >> {calls}\n{body}\n')
        program.chmod(0o755)
        calls.touch()
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        return calls

    return install


def told(calls: Path) -> list[str]:
    """Return what it was told to do, beside being looked at."""
    lines = (line.removeprefix("--user --no-ask-password ") for line in calls.read_text().splitlines())
    return [line for line in lines if not line.startswith("show ")]


def test_installed_units_are_found(systemctl: Systemctl) -> None:
    """Where a user manager knows them."""
    systemctl("echo loaded")
    assert systemd.is_set_up(SOCKET, ENV)


def test_unknown_units_and_an_absent_manager_are_not(systemctl: Systemctl) -> None:
    """`broker start` then starts a process of its own."""
    systemctl("echo not-found")
    assert not systemd.is_set_up(SOCKET, ENV)
    systemctl("echo 'Failed to connect to bus' >&2; exit 1")
    assert not systemd.is_set_up(SOCKET, ENV)
    assert not systemd.is_active()


def test_no_systemctl_is_no_systemd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As on macOS."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not systemd.is_set_up(SOCKET, ENV)
    with pytest.raises(Unreachable):
        systemd.restart()


@pytest.mark.parametrize(
    ("socket", "env"),
    [
        (SOCKET, ENV | {"BROKER_CONFIG": "/tmp/other.toml"}),
        (SOCKET, ENV | {"BROKER_STATE_DIR": "/tmp/other"}),
        (Path("/tmp/other.sock"), ENV | {"BROKER_SOCKET": "/tmp/other.sock"}),
        (Path("/home/me/.local/state/broker/broker.sock"), {}),
    ],
)
def test_a_daemon_with_places_of_its_own_is_not_the_units(
    systemctl: Systemctl, socket: Path, env: dict[str, str]
) -> None:
    """The service must not be started, nor stopped, for another daemon's sake."""
    calls = systemctl("echo loaded")
    assert not systemd.is_set_up(socket, env)
    assert calls.read_text() == ""


def test_socket_and_service_start_and_stop_together(systemctl: Systemctl) -> None:
    """A socket left open would start the daemon again at the next ask."""
    calls = systemctl("echo loaded")
    systemd.start()
    systemd.stop()
    assert told(calls) == ["start broker.socket broker.service", "stop broker.socket broker.service"]


def test_a_restart_leaves_the_socket_open(systemctl: Systemctl) -> None:
    """Asks wait in it for the next daemon."""
    calls = systemctl("echo loaded")
    systemd.restart()
    assert told(calls) == ["restart broker.service"]


def test_a_service_alone_is_enough(systemctl: Systemctl) -> None:
    """Without the socket unit only the service is started."""
    calls = systemctl('case "$*" in *broker.socket*) echo not-found;; *) echo loaded;; esac')
    systemd.start()
    assert told(calls) == ["start broker.service"]


def test_a_waiting_socket_counts_as_active(systemctl: Systemctl) -> None:
    """`broker stop` closes it too."""
    systemctl('case "$*" in *broker.socket*) echo active;; *) echo inactive;; esac')
    assert systemd.is_active()


def test_a_failure_is_told_in_systemds_words(systemctl: Systemctl) -> None:
    """One line, and where the rest is."""
    systemctl('case "$*" in *show*) echo loaded;; *) echo "Job failed." >&2; echo more >&2; exit 1;; esac')
    with pytest.raises(Unreachable, match=r"Job failed\.; see: journalctl --user -u broker\.service"):
        systemd.start()
