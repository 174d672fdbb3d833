"""The installed `broker` and `broker-helper`, and a daemon of a test's own."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.real.process import DEADLINE_S, coverage_env, terminate, wait_until

BIN: Final = Path(sys.executable).parent
BROKER: Final = BIN / "broker"
HELPER: Final = BIN / "broker-helper"


@dataclass(slots=True)
class Place:
    """A developer's config, state and socket, apart from everybody else's, under a path short enough for a socket."""

    folder: Path

    @property
    def config(self) -> Path:
        """The config file."""
        return self.folder / "config.toml"

    @property
    def socket(self) -> Path:
        """The control socket."""
        return self.folder / "run" / "broker.sock"

    @property
    def env(self) -> dict[str, str]:
        """The variables that lead daemon, command line and helper here."""
        return {
            "BROKER_CONFIG": str(self.config),
            "BROKER_STATE_DIR": str(self.folder / "state"),
            "BROKER_SOCKET": str(self.socket),
            "BROKER_AUTOSTART": "0",
        }

    def configure(self, toml: str) -> None:
        """Write the config as its owner would: nobody else may write it."""
        self.config.write_text(toml)
        self.config.chmod(0o600)

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, bytes]:
        """Ask the daemon on its control socket; raise `OSError` when none is there."""
        connection = _UnixConnection(self.socket)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def is_serving(self) -> bool:
        """Whether a daemon answers."""
        with suppress(OSError, http.client.HTTPException):
            return self.call("GET", "/healthz")[0] == http.HTTPStatus.OK
        return False

    def credential(self, name: str) -> dict[str, Any]:
        """Return one credential's part of `/v1/status`."""
        status, body = self.call("GET", "/v1/status")
        assert status == http.HTTPStatus.OK, body
        found: dict[str, Any] = next(entry for entry in json.loads(body)["credentials"] if entry["name"] == name)
        return found

    def ask(self, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run the installed helper, with nothing but this place in its environment (and `env`)."""
        return subprocess.run(
            [str(HELPER), *arguments],
            env=self.env | dict(env or {}),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )


@dataclass(slots=True)
class Daemon:
    """One `broker run`, in the foreground of its own process."""

    place: Place
    process: subprocess.Popen[str]

    def stop(self) -> int:
        """End it by SIGTERM, as a service manager would; return its exit code."""
        return terminate(self.process)

    def kill(self) -> None:
        """End it by SIGKILL, as the kernel would when memory is short."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def a_place() -> Iterator[Place]:
    """Make a private folder, and remove it in the end."""
    folder = Path(tempfile.mkdtemp(prefix="b-", dir="/tmp"))
    try:
        yield Place(folder)
    finally:
        wait_until(lambda: _remove(folder), f"{folder} is gone")


def _remove(folder: Path) -> bool:
    """Remove what is there; what still ends there (a keyring's daemon) may remove its own at the same time."""
    with suppress(OSError):
        shutil.rmtree(folder)
    return not folder.exists()


@contextmanager
def running(
    place: Place, *, env: Mapping[str, str] | None = None, command: Sequence[str] = (str(BROKER), "run")
) -> Iterator[Daemon]:
    """Run the installed daemon in `place` until the block ends; `env` adds to its otherwise bare environment.

    `command`: another way of starting it, that ends up in the daemon under the same pid.
    """
    bare = {"HOME": str(place.folder), "PATH": f"{BIN}:/usr/bin:/bin"} | coverage_env()
    log = place.folder / "daemon.stderr"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            list(command),
            env=bare | place.env | dict(env or {}),
            cwd=place.folder,
            stdin=subprocess.DEVNULL,
            stdout=stderr,
            stderr=stderr,
            text=True,
        )
    daemon = Daemon(place, process)
    try:
        wait_until(lambda: place.is_serving() or process.poll() is not None, "the daemon serves")
        assert process.poll() is None, f"the daemon left with {process.returncode}: {log.read_text()}"
        yield daemon
    finally:
        daemon.stop()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=DEADLINE_S)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.settimeout(DEADLINE_S)
            self.sock.connect(self._path)
        except OSError:
            self.sock.close()
            raise
