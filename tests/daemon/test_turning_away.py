"""A daemon that cannot start tells those who wait in the service manager's socket, and lets nobody wait in vain."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.client import Client
from broker.daemon import turning_away
from broker.daemon.turning_away import turn_away
from broker.errors import ConfigError, Unreachable, UnsafePath


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[socket.socket]:
    """Listen as the service manager does."""
    folder = tmp_path / "r"
    folder.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(folder / "broker.sock"))
        (folder / "broker.sock").chmod(0o600)
        listener.listen(8)
        yield listener


def ask(listener: socket.socket) -> tuple[threading.Thread, list[str]]:
    """Ask as the command line does, in a thread; return it, and where the error that it got will be."""
    said: list[str] = []

    def run() -> None:
        try:
            Client(Path(listener.getsockname())).status()
        except Unreachable as error:
            said.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    return thread, said


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConfigError(["line 1: wrong", "line 2: wrong"]), "the config is wrong, so no daemon can start; see: broker config check"),
        (UnsafePath("/state: open to others;\nrun: chmod 700 /state"), "/state: open to others; run: chmod 700 /state"),
    ],
)  # fmt: skip
def test_who_waits_is_told_why_no_daemon_starts(waiting: socket.socket, error: ConfigError, said: str) -> None:
    """In one line, with what mends it."""
    asks = [ask(waiting) for _ in range(3)]
    deadline = time.monotonic() + 10
    while any(thread.is_alive() for thread, _ in asks) and time.monotonic() < deadline:
        turn_away(waiting, error)
        asks[0][0].join(0.01)
    assert [found for _, found in asks] == [[said]] * 3


def test_nobody_waiting_costs_no_time(waiting: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service manager is told at once that the start failed."""
    monkeypatch.setattr(turning_away, "_WITHIN_S", 3600.0)  # nor would it wait for less
    start = time.monotonic()
    turn_away(waiting, ConfigError(["wrong"]))
    assert time.monotonic() - start < 10


def test_one_who_says_nothing_holds_nobody_up(waiting: socket.socket) -> None:
    """A connection without an ask is passed over, and one that left is no error."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.connect(waiting.getsockname())
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as gone:
            gone.connect(waiting.getsockname())
        turn_away(waiting, ConfigError(["wrong"]))
        silent.settimeout(1)
        assert silent.recv(1) == b""
