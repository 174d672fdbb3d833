"""How long a person waits: for the first answer of a daemon that was not running, and for `broker status`."""

from __future__ import annotations

import os
import pty
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from typing import Final

from tests.bench.figure import Figure, show
from tests.bench.measure import Command, warm_seconds
from tests.bench.place import configured, daemon
from tests.real.installed import BROKER, HELPER, Place
from tests.real.process import terminate

COLD_ROUNDS: Final = 7
ROUNDS: Final = 20
_CONFIG: Final = """
[credentials.work]
source = "command"
argv = ["/bin/echo", "fake-token-1"]

[credentials.other]
source = "demo"
"""
_POLL_S: Final = 0.001


def figures() -> list[Figure]:
    """Measure each on its own; the files are in the page cache, as on a machine that is in use."""
    with configured(_CONFIG) as place:
        cold = [_cold_run_seconds(place) for _ in range(COLD_ROUNDS)]
        by_helper = [_autostart_seconds(place) for _ in range(COLD_ROUNDS)]
    with daemon(_CONFIG) as place:
        piped = Command([str(BROKER), "status"], place.env | {"PATH": "/usr/bin:/bin"})
        status = warm_seconds(1, piped=piped)["piped"]
        shown = statistics.median(_on_a_terminal_seconds(place) for _ in range(ROUNDS))
    return [
        _milliseconds("first answer after a cold `broker run`", statistics.median(cold), 500),
        _milliseconds("first answer when the helper starts the daemon", statistics.median(by_helper), None),
        _milliseconds("broker status, into a pipe or file", status, 150),
        _milliseconds("broker status, on a terminal", shown, 150),
    ]


def _cold_run_seconds(place: Place) -> float:
    """From the start of the daemon to the token in the hands of a helper that asks as soon as it can."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [str(BROKER), "run"],
        env={"PATH": "/usr/bin:/bin"} | place.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        while not place.socket.exists():
            time.sleep(_POLL_S)
        _ask(place.env | {"BROKER_AUTOSTART": "0"})
        return time.perf_counter() - start
    finally:
        terminate(process)


def _autostart_seconds(place: Place) -> float:
    env = place.env | {"BROKER_AUTOSTART": "1", "HOME": str(place.folder)}
    start = time.perf_counter()
    _ask(env)
    taken = time.perf_counter() - start
    subprocess.run([str(BROKER), "stop"], env=env, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    return taken


def _ask(env: dict[str, str]) -> None:
    """Ask until there is an answer: between its socket's appearance and its listening the daemon refuses."""
    for _ in range(100):
        if subprocess.run([str(HELPER), "work"], env=env, capture_output=True, check=False).returncode == 0:
            return
    raise RuntimeError("the daemon does not answer")


def _on_a_terminal_seconds(place: Place) -> float:
    """Run it as a person does, and read what it shows as a terminal does."""
    ours, theirs = pty.openpty()
    env = place.env | {"PATH": "/usr/bin:/bin", "TERM": "xterm-256color"}
    start = time.perf_counter()
    with subprocess.Popen([str(BROKER), "status"], env=env, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        with suppress(OSError):  # Linux reports the end of a pseudo-terminal as an error
            while os.read(ours, 65_536):
                pass
        process.wait()
    os.close(ours)
    return time.perf_counter() - start


def _milliseconds(what: str, seconds: float, limit: float | None) -> Figure:
    return Figure(what, seconds * 1000, limit, "ms")


if __name__ == "__main__":
    sys.exit(show(figures()))
