"""The end of a daemon, wherever it was started, and whatever state it is in."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from broker import background, locks
from broker.background import finding, starting, stopping
from broker.background.pinned import Pinned
from broker.cli.demo.stage import wait_until
from broker.client import Client
from broker.errors import BrokerError, Unreachable
from tests.background.conftest import is_gone, pid
from tests.cli.conftest import Type
from tests.fakes.control import Script
from tests.real.process import pause

pytestmark = pytest.mark.slow  # real processes that hang, drain or wait for a clock


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lose patience at once."""
    monkeypatch.setattr(finding, "ANSWERS_WITHIN_S", 0.2)
    monkeypatch.setattr(stopping, "HUNG_ENDS_WITHIN_S", 0.2)


@pytest.fixture
def hung(type_: Type, config: Path, quick: None) -> Iterator[int]:
    """Start a daemon and stop its process: it listens, but answers nobody; give its pid."""
    daemon = pid(type_("start").out)
    pause(daemon)
    yield daemon
    os.kill(daemon, signal.SIGKILL)  # our child, not waited for: its pid is nobody else's yet


def test_stop_signals_nobody_but_the_process_that_serves(type_: Type, control: Script) -> None:
    """Behind systemd's socket the listener is systemd itself: never end that one."""
    control.daemon["pid"] = 1
    said = type_("stop")
    assert said.code == 69
    assert f"process {os.getpid()} holds" in said.err


def test_stop_ends_a_daemon_that_hangs(type_: Type, hung: int) -> None:
    """Nothing else would: it no longer hears SIGTERM."""
    assert type_("stop").out == "stopped\n"
    assert is_gone(hung)
    assert type_("stop").out == "no daemon was running\n"


def test_restart_replaces_a_daemon_that_hangs(type_: Type, hung: int) -> None:
    """As every message about such a daemon advises."""
    said = type_("restart")
    assert (said.code, said.err) == (0, "")
    assert is_gone(hung)
    assert pid(said.out) != hung
    assert "work" in type_("status").out


@pytest.mark.parametrize("queue", [0, 16])
def test_a_daemon_that_hangs_is_found_by_its_lock(hung: int, type_: Type, folder: Path, queue: int) -> None:
    """Also where the listener is another process (a service manager), or its queue is full."""
    path = folder / "run" / "broker.sock"
    path.unlink()
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(queue)
        first.connect(str(path))
        assert type_("stop").out == "stopped\n"
    assert is_gone(hung)


def test_a_daemon_that_drains_does_not_hang(
    type_: Type, config: Path, folder: Path, quick: None, spawn: Callable[..., subprocess.Popen[str]]
) -> None:
    """It answers nobody new, but who asked before gets the answer, however often one says stop."""
    config.write_text('[credentials.work]\nsource = "demo"\nlifetime = "1h"\ndelay = "2s"\n')
    daemon = pid(type_("start").out)
    client = Client(folder / "run" / "broker.sock")
    ask = spawn("token")
    assert wait_until(lambda: client.status()["credentials"][0]["refreshing"], 10)
    os.kill(daemon, signal.SIGTERM)
    assert wait_until(lambda: finding.holder(client) == locks.Holder(daemon, stopping=True), 10)
    assert background.stop(client)
    out, err = ask.communicate(timeout=30)
    assert (out.startswith("demo-"), err) == (True, "")


def test_what_is_no_daemon_of_ours_is_named_not_killed(type_: Type, control: Script) -> None:
    """A person decides; the line has the command."""
    control.errors["/v1/status"] = (500, "internal", "broken")
    said = type_("stop")
    assert said.code == 69
    assert said.err.count("\n") == 1
    assert f"kill {os.getpid()}" in said.err


def test_what_gives_no_sign_at_all_is_not_ours_to_end(folder: Path, quick: None) -> None:
    """A full queue and no lock: there is not even a pid."""
    path = folder / "run" / "broker.sock"
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(0)
        first.connect(str(path))
        with pytest.raises(Unreachable, match="does not answer"):
            background.stop(Client(path))


def test_a_connection_that_breaks_off_is_tried_again(type_: Type, control: Script) -> None:
    """Another stop ended that daemon just now: what matters is who listens next."""
    control.dropped = 2
    control.daemon["pid"] = 1
    assert "process 1 serves it" in type_("stop").err


@pytest.mark.parametrize("ours", [True, False])
def test_a_daemon_that_does_not_go_is_killed_if_it_is_ours(
    hung: int,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    ours: bool,  # noqa: FBT001  # a parameter
) -> None:
    """It answers, but SIGTERM is lost on it; `stop` never claims what is not so."""
    monkeypatch.setattr(stopping, "DRAINED_WITHIN_S", 0.1)
    monkeypatch.setattr("broker.client.Session.read", lambda *_: b'{"daemon": {"pid": %d}}' % hung)
    monkeypatch.setattr("broker.client.Session.ask", lambda *_: None)
    monkeypatch.setattr(Pinned, "is_daemon", lambda _: ours)
    client = Client(folder / "run" / "broker.sock")
    if ours:
        assert background.stop(client)
    else:
        with pytest.raises(BrokerError, match=f"kill -9 {hung}"):
            background.stop(client)
    assert is_gone(hung) == ours


def test_start_says_that_the_daemon_hangs(type_: Type, hung: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not end it, but names it and the command that does."""
    monkeypatch.setattr(starting, "STARTED_WITHIN_S", 2.0)
    said = type_("start")
    assert said.code == 69
    assert said.err.count("\n") == 1
    assert f"pid {hung}" in said.err
    assert said.err.endswith("it hangs; run: broker restart\n")
