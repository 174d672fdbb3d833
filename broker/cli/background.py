"""Starts and stops the daemon in the background: by systemd where its unit is set up, else as a process of its own."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import stat
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

import broker
from broker import paths
from broker.client import Client, NotRunning, document
from broker.errors import AlreadyRunning, BrokerError, Unreachable, UnsafePath
from broker.integrations import systemd

STARTED_WITHIN_S: Final = 10.0
STOPPED_WITHIN_S: Final = 30.0
LOG_MAX: Final = 1 << 20
LAST_LINES: Final = 20
_POLL_S: Final = 0.02
_AGAIN_S: Final = 0.5
_NOT_HANDED_ON: Final = ("LD_", "DYLD_", "PYTHON", "LISTEN_", "NOTIFY_SOCKET", "WATCHDOG_", "CLAUDECODE")

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


def stop(client: Client) -> bool:
    """Stop the daemon and wait until it is gone; False when none was running.

    Raises `Unreachable` when it does not go, or when it cannot be told which process it is.
    """
    by_systemd = systemd.is_set_up(client.socket_path) and systemd.is_active()
    if by_systemd:
        systemd.stop()
    return _signal_and_wait(client) or by_systemd


def restart(client: Client) -> None:
    """Stop the daemon if it runs, and start it."""
    if systemd.is_set_up(client.socket_path) and systemd.is_active():
        systemd.restart()
        _wait_until_healthy(client)
        return
    stop(client)
    start(client)


def command() -> list[str]:
    """Give the command line of `broker run`, by absolute path; `-P`: no folder of the caller's is searched."""
    return [sys.executable, "-P", "-m", "broker.cli", "run"]


def environment(env: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Give the daemon's environment: the caller's (`env` sources read it) without what steers loaders and services.

    A checkout that is not installed is put on the daemon's search path.
    """
    kept = {name: value for name, value in env.items() if not name.startswith(_NOT_HANDED_ON)}
    home = str(Path(broker.__file__).parent.parent)
    installed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    return kept if home in installed else kept | {"PYTHONPATH": home}


def _log_file() -> Path:
    """Make the log (0600), or check it; one that has grown too large becomes `broker.log.1`."""
    log = paths.private_folder(paths.state_dir()).absolute() / "broker.log"
    with suppress(FileNotFoundError):
        if log.lstat().st_size > LOG_MAX:
            log.replace(log.with_name("broker.log.1"))
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise UnsafePath(f"log {log}: {error.strerror}; remove it, or set BROKER_STATE_DIR") from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise UnsafePath(f"log {log}: not a file of yours; remove it, or set BROKER_STATE_DIR")
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)
    return log


def spawn(log: Path, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Run a daemon apart from this terminal and folder; what it says goes to the end of `log`."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        return subprocess.Popen(
            command(),
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            cwd="/",
            env=dict(env),
            start_new_session=True,
            umask=0o077,
        )
    finally:
        os.close(descriptor)


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
    log = _log_file()
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
            raise StartFailed(_last_words(log, written, _exit_code(code)), _exit_code(code))
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


def _last_words(log: Path, since: int, code: int) -> str:
    with log.open("rb") as file:
        file.seek(since)
        lines = file.read().decode("utf-8", "replace").splitlines()[-LAST_LINES:]
    said = [line.removeprefix("broker: ") for line in lines]
    return "\n".join([*said, f"the daemon did not start (exit code {code}); its log is {log}"])


def _exit_code(code: int) -> int:
    return code if code > 0 else 128 - code  # as a shell writes death by a signal


def _signal_and_wait(client: Client) -> bool:
    try:
        with client.session() as session:
            pinned = _Pinned(session.peer.pid)
            # The answer comes over a connection to the process just pinned: it cannot be a pid handed on since.
            serving = document(session.read(session.ask("GET", "/v1/status")))["daemon"]["pid"]
    except NotRunning:
        return False
    if serving != pinned.pid:
        raise Unreachable(
            f"process {pinned.pid} holds {client.socket_path}, but process {serving} serves it: stop it where it was started (a service manager?)"
        )
    pinned.terminate()
    if not pinned.wait(STOPPED_WITHIN_S):
        raise Unreachable(f"the daemon (pid {serving}) still runs {STOPPED_WITHIN_S:.0f} s after SIGTERM; see its log")
    return True


class _Pinned:
    """A process that stays the same one, even when its pid is given to another (pidfd_open(2), where there is one)."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._descriptor = os.pidfd_open(pid) if pid > 0 and hasattr(os, "pidfd_open") else None

    def terminate(self) -> None:
        """Ask it to drain and end."""
        with suppress(ProcessLookupError):
            if self._descriptor is not None:
                signal.pidfd_send_signal(self._descriptor, signal.SIGTERM)
            else:
                os.kill(self.pid, signal.SIGTERM)

    def wait(self, timeout_s: float) -> bool:
        """Whether it ended within `timeout_s`."""
        if self._descriptor is not None:
            return bool(select.select([self._descriptor], [], [], timeout_s)[0])
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            try:
                os.kill(self.pid, 0)
            except ProcessLookupError:
                return True
            time.sleep(_POLL_S)
        return False
