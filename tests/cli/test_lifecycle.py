"""`broker start`, `stop`, `restart` and the start that an ask makes, with a real daemon."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from broker.cli import background
from broker.cli.stage import wait_until
from broker.client import Client
from broker.errors import BrokerError
from tests.cli.conftest import Type
from tests.fakes.control import Script, serving

Spawn = Callable[..., subprocess.Popen[str]]

CONFIG = '[credentials.work]\nsource = "demo"\nlifetime = "1h"\n'


@pytest.fixture
def config(folder: Path) -> Iterator[Path]:
    """Write a config; at the end, stop whatever was started with it."""
    file = folder / "config.toml"
    file.write_text(CONFIG)
    file.chmod(0o600)
    yield file
    with suppress(BrokerError):
        background.stop(Client(folder / "run" / "broker.sock"))


def pid(said: str) -> int:
    """Read the daemon's pid from what a command said."""
    found = re.search(r"pid (\d+)", said)
    assert found, said
    return int(found[1])


def is_gone(process: int) -> bool:
    """Whether no such process runs."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_start_status_stop(type_: Type, config: Path) -> None:
    """The everyday round; each command may be given twice."""
    started = type_("start")
    assert (started.code, started.err) == (0, "")
    assert started.out.startswith("started (pid ")
    again = type_("start")
    assert (again.code, pid(again.out)) == (0, pid(started.out))
    assert again.out.startswith("a daemon runs already (pid ")
    assert "work" in type_("status").out
    assert type_("stop").out == "stopped\n"
    assert is_gone(pid(started.out))
    stopped = type_("stop")
    assert (stopped.code, stopped.out) == (0, "no daemon was running\n")


def test_restart_gives_another_daemon(type_: Type, config: Path) -> None:
    """Also when none was running."""
    first = pid(type_("restart").out)
    second = type_("restart")
    assert second.code == 0
    assert second.out.startswith("restarted (pid ")
    assert pid(second.out) != first
    assert is_gone(first)


def test_the_daemon_is_cut_off_from_who_started_it(type_: Type, config: Path, folder: Path) -> None:
    """Closing the terminal, or removing the folder it was started in, does not concern it."""
    daemon = pid(type_("start").out)
    assert os.getsid(daemon) == daemon
    if Path("/proc/self").exists() and os.access(f"/proc/{daemon}/cwd", os.R_OK):
        assert Path(f"/proc/{daemon}/cwd").readlink() == Path("/")


def test_a_bad_config_is_told_by_start(type_: Type, config: Path, folder: Path) -> None:
    """Every problem, the place of the log, and the daemon's own exit code."""
    config.write_text('[credentials.work]\nsource = "nope"\nmin_validity = 5\n')
    said = type_("start")
    assert (said.code, said.out) == (78, "")
    lines = said.err.splitlines()
    assert [line.partition("credentials.work.")[2].partition(":")[0] for line in lines[:-1]] == [
        "min_validity",
        "source",
    ]
    assert lines[-1] == f"broker: the daemon did not start (exit code 78); its log is {folder}/state/broker.log"


def test_old_words_in_the_log_are_not_repeated(type_: Type, config: Path, folder: Path) -> None:
    """Only what this start said."""
    (folder / "state").mkdir(mode=0o700)
    (folder / "state" / "broker.log").write_text("an old complaint\n")
    config.write_text("[credentials.work]\n")
    assert "old complaint" not in type_("start").err


def test_twenty_starts_at_once_leave_one_daemon(spawn: Spawn, config: Path) -> None:
    """And all of them succeed."""
    starts = [spawn("start") for _ in range(20)]
    said = [start.communicate(timeout=60) for start in starts]
    assert [start.returncode for start in starts] == [0] * 20, said
    assert len({pid(out) for out, _ in said}) == 1


def test_a_start_outlasts_the_daemon_that_is_leaving(spawn: Spawn, type_: Type, config: Path, folder: Path) -> None:
    """While the old one drains it holds the lock: the start tries again until that is free."""
    type_("start")
    type_("stop")
    (lock,) = (found for found in (folder / "state").glob("*.lock") if found.name != "starting.lock")
    log = folder / "state" / "broker.log"
    before = log.read_text()
    with lock.open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        start = spawn("start")
        assert wait_until(lambda: "another broker is running" in log.read_text().removeprefix(before), 10)
        assert start.poll() is None
    out, err = start.communicate(timeout=30)
    assert (start.returncode, err) == (0, "")
    assert out.startswith("started (pid ")


def test_the_log_is_ours_alone_and_does_not_grow_for_ever(type_: Type, config: Path, folder: Path) -> None:
    """0600; what is over 1 MiB at a start is set aside, once."""
    state = folder / "state"
    state.mkdir(mode=0o700)
    (state / "broker.log").write_bytes(b"x" * (background.LOG_MAX + 1))
    type_("start")
    assert (state / "broker.log.1").stat().st_size == background.LOG_MAX + 1
    assert (state / "broker.log").stat().st_size < background.LOG_MAX
    assert stat.S_IMODE((state / "broker.log").stat().st_mode) == 0o600


def test_a_log_that_leads_elsewhere_is_refused(type_: Type, config: Path, folder: Path) -> None:
    """A link there would have the daemon write into another file."""
    (folder / "state").mkdir(mode=0o700)
    (folder / "victim").write_text("")
    (folder / "state" / "broker.log").symlink_to(folder / "victim")
    said = type_("start")
    assert said.code == 77
    assert said.err.count("\n") == 1
    assert (folder / "victim").read_text() == ""


def test_an_ask_starts_the_daemon(type_: Type, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the helper does; BROKER_AUTOSTART=0 forbids it."""
    assert type_("token").code == 69
    monkeypatch.delenv("BROKER_AUTOSTART")
    said = type_("token")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("demo-")


def test_a_folder_called_broker_is_not_the_daemon(spawn: Spawn, config: Path, folder: Path) -> None:
    """A project could hold a package of our name: the daemon never looks into the caller's folder."""
    (folder / "broker").mkdir()
    (folder / "broker" / "__init__.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
    start = spawn("start")
    start.communicate(timeout=30)
    assert start.returncode == 0
    assert not (folder / "ran").exists()


def test_the_daemons_environment_is_the_callers_without_what_steers_loaders(monkeypatch: pytest.MonkeyPatch) -> None:
    """`env` sources read it; another service's sockets and a loader's settings are none of its business."""
    given = {"MY_KEY": "fake", "PATH": "/bin", "LD_PRELOAD": "x", "PYTHONSTARTUP": "x", "LISTEN_FDS": "1"}
    given |= {"NOTIFY_SOCKET": "x", "CLAUDECODE": "1", "BROKER_CONFIG": "/c"}
    handed_on = background.environment(given)
    handed_on.pop("PYTHONPATH", None)
    assert handed_on == {"MY_KEY": "fake", "PATH": "/bin", "BROKER_CONFIG": "/c"}


def test_stop_signals_nobody_but_the_process_that_serves(type_: Type, control: Script) -> None:
    """Behind systemd's socket the listener is systemd itself: never end that one."""
    control.daemon["pid"] = 1
    said = type_("stop")
    assert said.code == 69
    assert f"process {os.getpid()} holds" in said.err


def test_stop_says_when_the_daemon_does_not_go(
    type_: Type, config: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It never claims what is not so."""
    daemon = pid(type_("start").out)
    monkeypatch.setattr(background, "STOPPED_WITHIN_S", 0.1)
    os.kill(daemon, signal.SIGSTOP)
    try:
        client = Client(folder / "run" / "broker.sock")
        monkeypatch.setattr("broker.client.Session.read", lambda *_: b'{"daemon": {"pid": %d}}' % daemon)
        monkeypatch.setattr("broker.client.Session.ask", lambda *_: None)
        with pytest.raises(BrokerError, match="still runs"):
            background.stop(client)
    finally:
        monkeypatch.undo()
        os.kill(daemon, signal.SIGCONT)
        os.kill(daemon, signal.SIGKILL)


@pytest.fixture
def unit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have the systemd user service set up, its daemon serving; give the file of what `systemctl` was told."""
    for name in ("BROKER_CONFIG", "BROKER_STATE_DIR", "BROKER_SOCKET"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    calls = folder / "calls"
    (folder / "systemctl").write_text(
        f'#!/bin/sh\ncase "$*" in *LoadState*) echo loaded;; *ActiveState*) cat {folder}/state;; *) echo "$*" >> {calls};; esac\n'
    )
    (folder / "systemctl").chmod(0o755)
    (folder / "state").write_text("inactive\n")
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return calls


def test_start_goes_through_the_service_where_it_is_set_up(type_: Type, unit: Path, folder: Path) -> None:
    """One daemon, and systemd knows it."""
    with serving(folder / "broker" / "broker.sock", Script()):
        background.start(Client(folder / "broker" / "broker.sock"))
    assert unit.read_text() == "--user --no-ask-password start broker.socket broker.service\n"


def test_stop_and_restart_go_through_an_active_service(type_: Type, unit: Path, folder: Path) -> None:
    """Its process is systemd's to end."""
    (folder / "state").write_text("active\n")
    assert type_("stop").out == "stopped\n"
    with serving(folder / "broker" / "broker.sock", Script()):
        assert type_("restart").code == 0
    assert unit.read_text().splitlines() == [
        "--user --no-ask-password stop broker.socket broker.service",
        "--user --no-ask-password restart broker.service",
    ]


def test_stop_leaves_an_inactive_service_alone(type_: Type, unit: Path) -> None:
    """Nothing runs, so nothing is told to stop."""
    assert type_("stop").out == "no daemon was running\n"
    assert not unit.exists()
