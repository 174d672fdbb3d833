"""The start of a daemon in the background, by a person or by an ask."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from broker import locks
from broker.cli.demo.stage import wait_until
from tests.background.conftest import pid
from tests.cli.conftest import Type

pytestmark = pytest.mark.slow  # real processes that hang, drain or wait for a clock

Spawn = Callable[..., subprocess.Popen[str]]


def test_a_bad_config_is_told_by_start(type_: Type, config: Path) -> None:
    """Every problem, nothing besides, and the daemon's own exit code."""
    config.write_text('[credentials.work]\nsource = "nope"\nmin_validity = 5\n')
    said = type_("start")
    assert (said.code, said.out) == (78, "")
    lines = said.err.splitlines()
    assert [line.partition("credentials.work.")[2].partition(":")[0] for line in lines] == ["min_validity", "source"]


@pytest.mark.parametrize("command", ["start", "restart", "token"])
def test_without_a_config_one_line_says_what_to_do(
    type_: Type, folder: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Whichever command wanted the daemon."""
    monkeypatch.setenv("BROKER_AUTOSTART", "1")
    said = type_(command)
    assert (said.code, said.out, len(said.err.splitlines())) == (78, "", 1)
    assert said.err.startswith(f"broker: {folder}/config.toml: there is no config yet; run: ")


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
    """While the old one drains it holds both locks: the start waits until they are free, and then starts one."""
    type_("start")
    type_("stop")
    log = folder / "state" / "broker.log"
    before = log.read_text()
    held = [locks.take(folder / "run", locks.SOCKET), locks.take(folder / "state", locks.STATE)]
    start = spawn("start")
    assert wait_until(lambda: "another broker is running" in log.read_text().removeprefix(before), 10)
    with pytest.raises(subprocess.TimeoutExpired):
        start.wait(1.5)  # longer than for a daemon that will not make room
    for lock in held:
        os.close(lock)
    out, err = start.communicate(timeout=30)
    assert (start.returncode, err) == (0, "")
    assert out.startswith("started (pid ")
    assert log.read_text().removeprefix(before).count("another broker is running") == 1


def test_an_ask_starts_the_daemon(type_: Type, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the helper does; BROKER_AUTOSTART=0 forbids it."""
    assert type_("token").code == 69
    monkeypatch.delenv("BROKER_AUTOSTART")
    said = type_("token")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("demo-")


def test_a_daemon_on_another_socket_is_named_soon(
    type_: Type, config: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two sockets cannot share a state folder: the line says which folder, and nobody waits for what will not be."""
    daemon = pid(type_("start").out)
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("BROKER_SOCKET", str(folder / "run2" / "broker.sock"))
        said = type_("start")
    assert said.code == 69
    lines = said.err.splitlines()
    assert "state.lock: another broker is running" in lines[0]
    assert f"process {daemon}, on another socket, keeps its state in {folder}/state; set BROKER_SOCKET" in lines[1]
    assert (folder / "state" / "broker.log").read_text().count("another broker is running") == 2


def test_another_program_on_the_socket_is_named_soon(type_: Type, config: Path, folder: Path) -> None:
    """It is not a daemon, so waiting for it to serve or to leave is no use."""
    path = folder / "run" / "broker.sock"
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        path.chmod(0o600)
        other.listen(0)
        said = type_("start")
    assert said.code == 75
    assert f"{path}: another program answers there" in said.err
