"""A broker-helper laid out as an installer does it, a scripted daemon, and a `broker` beside it that tells on itself."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

SOURCES: Final = Path(__file__).parents[2] / "helper"
WARNINGS: Final = ("-Wall", "-Wextra", "-Werror", "-Wpedantic", "-Wconversion", "-Wshadow")
SANITIZERS: Final = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g")
TOKEN: Final = b"fake-token-1"
WAIT_S: Final = 30.0
"""How long a test waits for a condition before it fails; never reached when all is well."""


def compile_c(target: Path, *flags: str, compiler: str = "cc") -> Path:
    """Compile the native helper, with every warning an error."""
    sources = [str(source) for source in sorted(SOURCES.glob("*.c"))]
    subprocess.run([compiler, "-std=c11", "-O1", *WARNINGS, *flags, "-o", str(target), *sources], check=True)
    return target


def wait_until(condition: Callable[[], Any], what: str) -> None:
    """Poll until `condition` holds."""
    give_up = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > give_up:
            raise TimeoutError(what)
        time.sleep(0.002)


@dataclass(frozen=True)
class Said:
    """What a run left behind."""

    code: int
    out: bytes
    err: str
    took_s: float = 0.0


@dataclass(frozen=True)
class Place:
    """One test's installation (`bin/broker-helper` and its neighbour), home, and socket."""

    folder: Path
    kind: str
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def helper(self) -> Path:
        """The executable under test."""
        return self.folder / "bin" / "broker-helper"

    @property
    def broker(self) -> Path:
        """Its neighbour, which it starts when no daemon listens."""
        return self.folder / "bin" / "broker"

    @property
    def socket(self) -> Path:
        """Where the daemon is looked for, unless the test says otherwise."""
        return self.folder / "run" / "broker.sock"

    def env(self, changes: Mapping[str, str | None]) -> dict[str, str]:
        """Give a small environment; None takes a variable out."""
        base = {"HOME": str(self.folder), "PATH": "/usr/bin:/bin", "BROKER_SOCKET": str(self.socket)}
        merged = base | {"BROKER_AUTOSTART": "0"} | dict(changes)
        return {name: value for name, value in merged.items() if value is not None}

    def run(self, *arguments: str | bytes, **changes: str | None) -> Said:
        """Run the helper to its end."""
        return self.run_as([str(self.helper), *arguments], changes)

    def run_as(
        self, command: Sequence[str | bytes], changes: Mapping[str, str | None] | None = None, cwd: Path | None = None
    ) -> Said:
        """Run another command line that ends up in the helper."""
        began = time.monotonic()
        env = self.env(changes or {})
        done = subprocess.run(command, env=env, cwd=cwd, capture_output=True, timeout=WAIT_S, check=False)
        return Said(done.returncode, done.stdout, done.stderr.decode(), time.monotonic() - began)

    def start(self, *arguments: str, **changes: str | None) -> subprocess.Popen[bytes]:
        """Start the helper and leave it running; `finish` reaps it."""
        return self.start_onto(subprocess.PIPE, *arguments, **changes)

    def start_onto(self, stdout: int, *arguments: str, **changes: str | None) -> subprocess.Popen[bytes]:
        """Start it with a stdout of the test's choosing."""
        env = self.env({"BROKER_TIMEOUT_MS": str(int(WAIT_S * 1000)), **changes})
        process = subprocess.Popen([self.helper, *arguments], env=env, stdout=stdout, stderr=subprocess.PIPE)
        self.running.append(process)
        return process

    def stop(self) -> None:
        """End what a failed test left running."""
        for process in self.running:
            process.kill()
            process.communicate()


def finish(process: subprocess.Popen[bytes]) -> Said:
    """Wait for a started helper."""
    out, err = process.communicate(timeout=WAIT_S)
    return Said(process.returncode, out, err.decode())


def lay_out(folder: Path, kind: str, native: Path | None) -> Place:
    """Install one kind of helper under `folder`, as wheel and installer would."""
    place = Place(folder, kind)
    place.helper.parent.mkdir(parents=True)
    place.socket.parent.mkdir(mode=0o700)
    if native is not None:
        os.link(native, place.helper)
    else:
        shutil.copy(SOURCES / "broker_helper.sh", place.helper)
        place.helper.chmod(0o755)
        modules = folder / "libexec" / "claude-credential-broker"
        modules.mkdir(parents=True)
        for module in SOURCES.glob("broker_*.py"):
            shutil.copy(module, modules)
    place.broker.write_text(f"#!{sys.executable}\n")
    place.broker.chmod(0o755)
    return place


def ok(token: bytes = TOKEN) -> bytes:
    """Write the daemon's answer with a token."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\nConnection: close\r\n"
    return head + b"Content-Length: %d\r\n\r\n%s" % (len(token), token)


def refusal(status: int, reason: bytes) -> bytes:
    """Write the daemon's answer without one."""
    return b"HTTP/1.1 %d Whatever\r\nContent-Length: %d\r\n\r\n%s" % (status, len(reason), reason)


Turn = bytes | Callable[[socket.socket, bytes], None]


def reset(_connection: socket.socket, _request: bytes) -> None:
    """Close without reading: the other end gets a reset rather than an end."""


@dataclass
class Daemon:
    """A scripted daemon: plays one turn a connection, the last one ever again; remembers what it was asked."""

    turns: Sequence[Turn]
    requests: list[bytes] = field(default_factory=list)

    def serve(self, listener: socket.socket) -> None:
        """Serve until the listener is shut down."""
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                self.play(connection)

    def play(self, connection: socket.socket) -> None:
        """Read one request and play the next turn."""
        turn = self.turns[min(len(self.requests), len(self.turns) - 1)]
        request = b""
        while turn is not reset and not request.endswith(b"\r\n\r\n") and (received := connection.recv(4096)):
            request += received
        self.requests.append(request)
        if isinstance(turn, bytes):
            connection.sendall(turn)
        else:
            turn(connection, request)


@contextlib.contextmanager
def listening(path: Path, backlog: int = 256) -> Iterator[socket.socket]:
    """Listen at `path`, 0600."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(backlog)
    try:
        yield listener
    finally:
        listener.close()
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def serving(path: Path, *turns: Turn) -> Iterator[Daemon]:
    """Run a scripted daemon at `path`."""
    daemon = Daemon(turns)
    with listening(path) as listener:
        thread = threading.Thread(target=daemon.serve, args=[listener])
        thread.start()
        try:
            yield daemon
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


# What the fake `broker start` does: notes how it was started, waits at the gate, then does as the test said.
_BROKER: Final = """#!{python} -IS
import json, os, sys, time
home = {home!r}
open_fds = sorted(fd for fd in map(int, os.listdir("/proc/self/fd")) if os.path.exists(f"/proc/self/fd/{{fd}}"))
links = {{fd: os.readlink(f"/proc/self/fd/{{fd}}") for fd in open_fds}}
facts = dict(pid=os.getpid(), argv=sys.argv, env=dict(os.environ), cwd=os.getcwd(), session=os.getsid(0) == os.getpid(), fds=links)
with open(home + "/starts", "a") as log:
    log.write(json.dumps(facts) + "\\n")
while os.path.exists(home + "/gate"):
    time.sleep(0.005)
exit_code, answers = {exit_code}, {answers!r}
if answers is None:
    sys.exit(exit_code)
import _socket
path = os.environ["BROKER_SOCKET"]
listener = _socket.socket(_socket.AF_UNIX)
os.umask(0o077)
listener.bind(path + ".new")
listener.listen(512)
os.rename(path + ".new", path)
if os.fork():
    sys.exit(exit_code)
while answers:
    connection = _socket.socket(fileno=listener._accept()[0])
    connection.recv(4096)
    connection.sendall(answers[0])
    connection.close()
    answers = answers[1:] or answers[-1:] * {forever}
os.unlink(path)
"""


@dataclass(frozen=True)
class FakeBroker:
    """The `broker` beside the helper."""

    place: Place

    def behave(self, *, exit_code: int = 0, answers: Sequence[bytes] | None = None, forever: bool = True) -> None:
        """Say what `broker start` shall do: exit, after having brought up a daemon if there are `answers`."""
        text = _BROKER.format(
            python=sys.executable,
            home=str(self.place.folder),
            exit_code=exit_code,
            answers=None if answers is None else list(answers),
            forever=int(forever),
        )
        self.place.broker.write_text(text)

    def starts(self) -> list[dict[str, Any]]:
        """Tell how it was started, each time."""
        log = self.place.folder / "starts"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def shut_gate(self) -> None:
        """Hold every `broker start` until the gate opens."""
        (self.place.folder / "gate").touch()

    def open_gate(self) -> None:
        """Let them go on."""
        (self.place.folder / "gate").unlink(missing_ok=True)

    def stop(self) -> None:
        """End what is left: each start has a session, and so a process group, of its own."""
        for start in self.starts():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(start["pid"], signal.SIGKILL)


def waits_for_start(process: subprocess.Popen[bytes]) -> bool:
    """Whether this helper has found no daemon and stands at the lock."""
    with contextlib.suppress(OSError):
        links = [link.readlink().name for link in Path(f"/proc/{process.pid}/fd").iterdir()]
        return "start.lock" in links
    return False
