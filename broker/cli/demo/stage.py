"""A private stage for `broker demo`: a folder of its own with a real daemon in it, and the real helper to ask."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

from broker.background import detached
from broker.background.starting import STARTED_WITHIN_S
from broker.client import Client
from broker.errors import BrokerError, Unreachable, UnsafePath
from broker.integrations import installed_helper
from broker.secret import Secret

TTL_MS: Final = 1000
POLL_S: Final = 0.02
_HELPER_S: Final = 15.0
_STOPPED_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the helper printed, and how long it took from before its start to after its end, in seconds."""

    secret: Secret
    took_s: float


@dataclass(frozen=True, slots=True)
class Stage:
    """The daemon in `folder` and the helper that asks it."""

    folder: Path
    helper: Path
    env: dict[str, str]
    client: Client
    ready_s: float

    def ask(self, name: str) -> Answer:
        """Run the helper once, as Claude Code would."""
        return self.crowd(name, 1)[0]

    def crowd(self, name: str, size: int) -> list[Answer]:
        """Run `size` helpers at the same time; raise `Unreachable` with the words of one that failed."""
        began = time.perf_counter()
        helpers: list[subprocess.Popen[bytes]] = []
        try:
            helpers.extend(self._start(name) for _ in range(size))
            return [_finish(helper, began) for helper in helpers]
        finally:
            for helper in helpers:
                helper.kill()
                helper.communicate()

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [str(self.helper), name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.env,
            cwd="/",
        )


def _finish(helper: subprocess.Popen[bytes], began: float) -> Answer:
    out, err = helper.communicate(timeout=_HELPER_S)
    took_s = time.perf_counter() - began
    if helper.returncode:
        raise Unreachable(f"the helper failed with exit code {helper.returncode}: {err.decode(errors='replace')}")
    return Answer(Secret(out.decode("ascii").removesuffix("\n")), took_s)


@contextmanager
def set_up(config: str) -> Iterator[Stage]:
    """Start a daemon with this config in a folder of its own; take everything away at the end, come what may."""
    helper = find_helper()
    with _orderly_end():
        folder = Path(tempfile.mkdtemp(prefix="broker-demo-"))  # 0700, as mkdtemp(3) promises
        try:
            (folder / "config.toml").write_text(config)
            (folder / "config.toml").chmod(0o600)
            with _daemon(folder, helper) as stage:
                yield stage
        finally:
            shutil.rmtree(folder)


def find_helper() -> Path:
    """Find the installed `broker-helper`: beside the script that runs, else beside this Python."""
    for candidate in (Path(sys.argv[0]).absolute().parent / "broker-helper", installed_helper.path()):
        if os.access(candidate, os.X_OK) and candidate.is_file():
            return candidate
    raise UnsafePath(f"{installed_helper.path()}: the helper is not installed; reinstall claude-credential-broker")


@contextmanager
def _daemon(folder: Path, helper: Path) -> Iterator[Stage]:
    env = detached.environment({"PATH": os.defpath, "HOME": str(folder), **_places(folder), **_coverage()})
    log = folder / "broker.log"
    log.touch(mode=0o600)
    began = time.perf_counter()
    daemon = detached.spawn(log, env)
    try:
        client = Client(folder / "run" / "broker.sock")
        _wait_for(client, daemon, log)
        asking = {**_places(folder), "CLAUDE_CODE_API_KEY_HELPER_TTL_MS": str(TTL_MS), "BROKER_AUTOSTART": "0"}
        yield Stage(folder, helper, {"PATH": os.defpath, **asking}, client, time.perf_counter() - began)
    finally:
        daemon.terminate()
        try:
            daemon.wait(_STOPPED_S)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


def _places(folder: Path) -> dict[str, str]:
    return {
        "BROKER_CONFIG": str(folder / "config.toml"),
        "BROKER_STATE_DIR": str(folder / "state"),
        "BROKER_SOCKET": str(folder / "run" / "broker.sock"),
    }


def _coverage() -> dict[str, str]:
    """Let the project's own tests measure the daemon that the demo starts."""
    return {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_PROCESS_")}


def _wait_for(client: Client, daemon: subprocess.Popen[bytes], log: Path) -> None:
    def serves() -> bool:
        if daemon.poll() is not None:
            raise BrokerError(f"the demo's daemon ended with {daemon.returncode}: {log.read_text()}")
        return client.healthy()

    if not wait_until(serves, STARTED_WITHIN_S):
        raise Unreachable(f"the demo's daemon does not answer: {log.read_text()}")


def wait_until(holds: Callable[[], bool], at_most_s: float) -> bool:
    """Poll until `holds`; False when it still does not after `at_most_s`."""
    deadline = time.monotonic() + at_most_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


@contextmanager
def _orderly_end() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind as Ctrl-C does, and leave what cleans up alone from then on."""

    def leave(number: int, _frame: FrameType | None) -> None:
        for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(each, signal.SIG_IGN)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
