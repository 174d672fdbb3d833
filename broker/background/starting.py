"""Starts the daemon: one of however many that ask for it at once, and the others wait for its daemon."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from broker import locks, paths
from broker.background import log as logs
from broker.background.detached import environment, spawn
from broker.background.finding import holder
from broker.background.stopping import stop
from broker.client import HEALTHY_WITHIN_S, Client, NotRunning
from broker.errors import AlreadyRunning, BrokerError, ConfigError, Unreachable
from broker.integrations import systemd

STARTED_WITHIN_S: Final = 10.0
_POLL_S: Final = 0.02
_AGAIN_S: Final = 0.5

Answer = TypeVar("Answer")


class StartFailed(BrokerError):
    """The daemon ended before it served; carries its last words and its exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # this one passes on another program's code


def with_daemon(client: Client, ask: Callable[[Client], Answer]) -> Answer:
    """Ask; where no daemon runs, start one first, as the helper does, unless BROKER_AUTOSTART=0."""
    try:
        return ask(client)
    except NotRunning:
        if os.environ.get("BROKER_AUTOSTART") == "0":
            raise
    start(client)
    return ask(client)


def start(client: Client) -> bool:
    """Return when a daemon serves, whoever started it; False when one did already.

    Raises `StartFailed`, `Unreachable`, `UnsafePath`.
    """
    deadline = _deadline()
    if client.healthy():
        return False
    if systemd.is_set_up(client.socket_path):
        systemd.start()
        _wait_until_healthy(client)
        return True
    with _only_starter(client, deadline) as we_start:
        if we_start:
            _start_detached(client, deadline)
    return True


def restart(client: Client) -> None:
    """Stop the daemon if it runs, and start it. Raises what `stop` and `start` raise."""
    if systemd.is_set_up(client.socket_path) and systemd.is_active():
        systemd.restart()
        _wait_until_healthy(client)
        return
    stop(client)
    start(client)


@contextmanager
def _only_starter(client: Client, deadline: float) -> Iterator[bool]:
    """Let one start go ahead of twenty; False for those who find a daemon when their turn comes."""
    # Not the helper's start.lock: it holds that while it runs us.
    lock = paths.private_folder(paths.state_dir()) / "starting.lock"
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        while not _locked(descriptor):
            if client.healthy():
                break
            _rest(client, deadline)
        yield not client.healthy()
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _start_detached(client: Client, deadline: float) -> None:
    log = logs.prepare()
    written = log.stat().st_size
    looked = False
    while (code := _run(client, log, deadline)) == AlreadyRunning.exit_code:
        if looked and holder(client) is None:
            break  # what is in the way is no daemon on this socket: it neither will serve nor makes room
        if _served_by_the_other(client, deadline):
            return
        looked = True
    if code is not None:
        raise _failed(code, log, logs.said_since(log, written))


def _served_by_the_other(client: Client, deadline: float) -> bool:
    """Wait while another daemon starts (and will serve), or drains (and makes room: False)."""
    starting_until = time.monotonic() + _AGAIN_S  # it takes the state folder's lock first, the socket's a moment later
    while not client.healthy():
        if time.monotonic() > starting_until and holder(client) is None:
            return False
        _rest(client, deadline)
    return True


def _failed(code: int, log: Path, said: list[str]) -> StartFailed:
    if said and code == ConfigError.exit_code:
        return StartFailed("\n".join(said), code)  # that says it all: the log holds nothing more
    state = locks.holder(paths.state_dir() / locks.STATE) if code == AlreadyRunning.exit_code else None
    if state is None:
        return StartFailed("\n".join([*said, f"the daemon did not start (exit code {code}); its log is {log}"]), code)
    hint = f"the daemon of process {state.pid}, on another socket, keeps its state in {paths.state_dir()}; set BROKER_SOCKET to its socket, or BROKER_STATE_DIR to another folder"
    return StartFailed("\n".join([*said[-1:], hint]), Unreachable.exit_code)


def _run(client: Client, log: Path, deadline: float) -> int | None:
    """Start one process; return None as soon as a daemon serves, or the exit code (as a shell writes it)."""
    child = spawn(log, environment())
    try:
        while not client.healthy():
            code = child.poll()
            if code is not None:
                return code if code > 0 else 128 - code
            _rest(client, deadline)
    finally:
        if child.returncode is None:
            child.returncode = 0  # it outlives us: nobody waits for it, and Python shall not warn of that
    return None


def _wait_until_healthy(client: Client) -> None:
    deadline = _deadline()
    while not client.healthy():
        _rest(client, deadline)


def _deadline() -> float:
    """Give the time of the last look, which may itself take a while."""
    return time.monotonic() + STARTED_WITHIN_S - HEALTHY_WITHIN_S


def _rest(client: Client, deadline: float) -> None:
    """Pause between two looks; raise `Unreachable` at the deadline."""
    if time.monotonic() > deadline:
        raise _late(client)
    time.sleep(_POLL_S)


def _late(client: Client) -> Unreachable:
    held_by = holder(client)
    if held_by is not None and held_by.pid:
        return Unreachable(
            f"the daemon (pid {held_by.pid}) on {client.socket_path} does not answer: it hangs; run: broker restart"
        )
    return Unreachable(
        f"no daemon answers on {client.socket_path} after {STARTED_WITHIN_S:.0f} s; see {paths.state_dir()}/broker.log, or run: broker run"
    )
