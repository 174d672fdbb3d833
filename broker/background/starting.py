"""Starts the daemon: one of however many that ask for it at once, and the others wait for its daemon."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from broker import paths
from broker.background import log as logs
from broker.background.detached import environment, spawn
from broker.background.stopping import stop
from broker.client import Client, NotRunning
from broker.errors import AlreadyRunning, BrokerError, Unreachable
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


def start(client: Client) -> None:
    """Return when a daemon serves, whoever started it. Raises `StartFailed`, `Unreachable`, `UnsafePath`."""
    if systemd.is_set_up(client.socket_path):
        systemd.start()
        _wait_until_healthy(client)
        return
    with _only_starter(client) as we_start:
        if we_start:
            _start_detached(client)


def restart(client: Client) -> None:
    """Stop the daemon if it runs, and start it. Raises what `stop` and `start` raise."""
    if systemd.is_set_up(client.socket_path) and systemd.is_active():
        systemd.restart()
        _wait_until_healthy(client)
        return
    stop(client)
    start(client)


@contextmanager
def _only_starter(client: Client) -> Iterator[bool]:
    """Let one start go ahead of twenty; False for those who find a daemon when their turn comes."""
    lock = (
        paths.private_folder(paths.state_dir()) / "starting.lock"
    )  # not the helper's start.lock: it holds that while it runs us
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    deadline = time.monotonic() + STARTED_WITHIN_S
    try:
        while not _locked(descriptor):
            if client.healthy():
                break
            if time.monotonic() > deadline:
                raise _late(client)
            time.sleep(_POLL_S)
        yield not client.healthy()
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _start_detached(client: Client) -> None:
    log = logs.prepare()
    written = log.stat().st_size
    deadline = time.monotonic() + STARTED_WITHIN_S
    child = spawn(log, environment())
    while not client.healthy():
        code = child.poll()
        if code == AlreadyRunning.exit_code:
            # The other one starts (and will serve) or drains (and makes room): look again, and try again.
            time.sleep(_AGAIN_S)
            if not client.healthy():
                child = spawn(log, environment())
        elif code is not None:
            said = logs.said_since(log, written)
            words = f"the daemon did not start (exit code {_exit_code(code)}); its log is {log}"
            raise StartFailed("\n".join([*said, words]), _exit_code(code))
        if time.monotonic() > deadline:
            raise _late(client)
        time.sleep(_POLL_S)
    child.returncode = 0  # it outlives us: nobody waits for it, and Python shall not warn of that


def _wait_until_healthy(client: Client) -> None:
    deadline = time.monotonic() + STARTED_WITHIN_S
    while not client.healthy():
        if time.monotonic() > deadline:
            raise _late(client)
        time.sleep(_POLL_S)


def _late(client: Client) -> Unreachable:
    return Unreachable(
        f"no daemon answers on {client.socket_path} after {STARTED_WITHIN_S:.0f} s; see {paths.state_dir()}/broker.log, or run: broker run"
    )


def _exit_code(code: int) -> int:
    return code if code > 0 else 128 - code  # as a shell writes death by a signal
