"""Real processes in tests: wait for a condition with a deadline, end what was started, keep coverage going."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

DEADLINE_S: Final = 60.0
"""How long anything real may take before its test fails; far above what it takes on two busy cores."""

STRANGER: Final = 1234
"""The uid of another user, whom nobody has to make."""

_POLL_S: Final = 0.02
_GRACE_S: Final = 10.0


def wait_until(
    holds: Callable[[], bool], what: str, *, deadline_s: float = DEADLINE_S, poll_s: float = _POLL_S
) -> None:
    """Return as soon as `holds()`, which is looked at every `poll_s`; fail with `what` at the deadline."""
    end = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < end, f"after {deadline_s} s still not: {what}"
        time.sleep(poll_s)


def terminate(process: subprocess.Popen[str]) -> int:
    """Ask a process to end, insist after a while, and return its exit code."""
    process.terminate()
    try:
        return process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def pause(pid: int) -> None:
    """Stop a process with SIGSTOP, and return when it stands still.

    The signal alone does not wait: until one thread has taken it, on two busy cores, another still answers a request.
    """
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: _thread_states(pid) <= {"T"}, f"process {pid} stands still", poll_s=0.001)


def _thread_states(pid: int) -> set[str]:
    """Return the letters of proc(5); a thread that ends meanwhile has none."""
    letters = set()
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(OSError):
            letters.add(stat.read_text().rpartition(")")[2].split()[0])
    return letters


def as_stranger(*command: str) -> list[str]:
    """Return the command line that runs this as another user of the machine; only root can."""
    return ["setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups", *command]


def coverage_env() -> dict[str, str]:
    """Return the variables through which coverage follows into child processes, if it is measuring at all."""
    return {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
