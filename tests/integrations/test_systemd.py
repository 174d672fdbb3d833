"""The systemd user service, through a `systemctl` that notes what it was told. The real one: tests/real."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.errors import ConfigError, Unreachable
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
    systemctl("echo LoadState=loaded")
    assert systemd.is_set_up(SOCKET, ENV)


def test_unknown_units_and_an_absent_manager_are_not(systemctl: Systemctl) -> None:
    """`broker start` then starts a process of its own."""
    systemctl("echo LoadState=not-found")
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
    calls = systemctl("echo LoadState=loaded")
    assert not systemd.is_set_up(socket, env)
    assert calls.read_text() == ""


def test_socket_and_service_start_and_stop_together(systemctl: Systemctl) -> None:
    """A socket left open would start the daemon again at the next ask."""
    calls = systemctl("echo LoadState=loaded")
    systemd.start()
    systemd.stop()
    assert told(calls) == ["start broker.socket broker.service", "stop broker.socket broker.service"]


def test_a_restart_leaves_the_socket_open(systemctl: Systemctl) -> None:
    """Asks wait in it for the next daemon."""
    calls = systemctl("echo LoadState=loaded")
    systemd.restart()
    assert told(calls) == ["restart broker.service"]


@pytest.mark.parametrize("act", [systemd.start, systemd.restart])
def test_a_socket_whose_file_is_gone_is_opened_anew(
    systemctl: Systemctl, act: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Systemd would go on listening on what nobody can reach; where the file is there, nothing is interrupted."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    calls = systemctl('case "$*" in *LoadState*) echo LoadState=loaded;; *) echo ActiveState=active;; esac')
    act()
    assert told(calls)[:2] == ["stop broker.service", "restart broker.socket"]
    calls.write_text("")
    (tmp_path / "broker").mkdir()
    (tmp_path / "broker" / "broker.sock").touch()
    act()
    assert "restart broker.socket" not in told(calls)


def test_a_service_alone_is_enough(systemctl: Systemctl) -> None:
    """Without the socket unit only the service is started."""
    calls = systemctl('case "$*" in *broker.socket*) echo LoadState=not-found;; *) echo LoadState=loaded;; esac')
    systemd.start()
    assert told(calls) == ["start broker.service"]


def test_a_waiting_socket_counts_as_active(systemctl: Systemctl) -> None:
    """`broker stop` closes it too."""
    systemctl('case "$*" in *broker.socket*) echo ActiveState=active;; *) echo ActiveState=inactive;; esac')
    assert systemd.is_active()


def test_units_that_gave_up_are_forgiven(systemctl: Systemctl) -> None:
    """After a broken config they have reached their start limit; `broker start` must not need a second command."""
    calls = systemctl("printf 'LoadState=loaded\\nActiveState=failed\\nResult=start-limit-hit\\n'")
    systemd.start()
    systemd.restart()
    systemd.stop()
    assert told(calls) == [
        "reset-failed broker.socket broker.service",
        "start broker.socket broker.service",
        "reset-failed broker.socket broker.service",
        "restart broker.service",
        "stop broker.socket broker.service",
        "reset-failed broker.socket broker.service",
    ]


def test_both_units_can_be_looked_at(systemctl: Systemctl) -> None:
    """What the manager makes of them, in its own words, for status and doctor."""
    systemctl("printf 'LoadState=loaded\\nActiveState=failed\\nResult=start-limit-hit\\nNeedDaemonReload=yes\\n'")
    socket, service = systemd.view()
    assert (socket.name, service.name) == ("broker.socket", "broker.service")
    assert (service.load, service.active, service.result) == ("loaded", "failed", "start-limit-hit")
    assert service.failed
    assert service.stale


def test_without_a_manager_there_is_nothing_to_see(systemctl: Systemctl) -> None:
    """Looking never fails."""
    systemctl("exit 1")
    assert [(unit.load, unit.active, unit.failed) for unit in systemd.view()] == [("", "", False)] * 2


def test_a_manager_that_looks_elsewhere_is_told_from_none(
    systemctl: Systemctl, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Units that nobody reads must not be written; the message says what to run."""
    monkeypatch.setattr(systemd, "_BOOTED", tmp_path)
    systemctl("echo '/home/me/.config/systemd/user /etc/systemd/user'")
    systemd.require_manager(Path("/home/me/.config/systemd/user"))
    with pytest.raises(
        Unreachable, match="reads no units from /elsewhere/systemd/user; run this as yourself, with HOME"
    ):
        systemd.require_manager(Path("/elsewhere/systemd/user"))
    systemctl("echo 'Failed to connect to bus: No medium found' >&2; exit 1")
    with pytest.raises(Unreachable, match=r"no systemd user manager answers; .* \(.*Failed to connect to bus"):
        systemd.require_manager(Path("/home/me/.config/systemd/user"))


def test_who_only_lacks_the_variable_reaches_the_manager_all_the_same(
    systemctl: Systemctl, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """After su, or in cron: a second daemon beside the service's would be the worse answer."""
    monkeypatch.setattr(systemd, "_RUN_USER", tmp_path)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    runtime = tmp_path / str(os.geteuid())
    systemctl(f'test "$XDG_RUNTIME_DIR" = {runtime} && echo LoadState=loaded')
    assert systemd.is_set_up(runtime / "broker" / "broker.sock", {})


def test_a_system_without_systemd_needs_no_set_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """macOS, a container: the helper starts the daemon there."""
    monkeypatch.setattr(systemd, "_BOOTED", tmp_path / "nowhere")
    with pytest.raises(Unreachable, match="does not run systemd; nothing to set up"):
        systemd.require_manager(tmp_path)


@pytest.mark.parametrize(("said", "lingers"), [("echo yes", True), ("echo no", False), ("exit 1", None), (None, None)])
def test_lingering_is_known_or_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str | None, lingers: object
) -> None:
    """Without logind nobody can tell, and nobody is warned."""
    monkeypatch.setenv("PATH", str(tmp_path))
    if said is not None:
        (tmp_path / "loginctl").write_text(f"#!/bin/sh\n{said}\n")
        (tmp_path / "loginctl").chmod(0o755)
    assert systemd.lingers() is lingers


def test_a_refused_config_is_named_as_such(systemctl: Systemctl) -> None:
    """Not only systemd's `control process exited with error code`: what mends it is another command."""
    systemctl(
        'case "$*" in *Exec*) echo ExecMainStatus=78;; *show*) echo LoadState=loaded;; *) echo "Job failed." >&2; exit 1;; esac'
    )
    with pytest.raises(ConfigError, match="refused its config; see: broker config check"):
        systemd.start()


def test_a_failure_is_told_in_systemds_words(systemctl: Systemctl) -> None:
    """One line, and where the rest is."""
    systemctl('case "$*" in *show*) echo LoadState=loaded;; *) echo "Job failed." >&2; echo more >&2; exit 1;; esac')
    with pytest.raises(Unreachable, match=r"Job failed\.; see: journalctl --user -u broker\.service"):
        systemd.start()
