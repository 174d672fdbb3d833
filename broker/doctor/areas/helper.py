"""The helper that is installed beside this command: which one, and how fast it answers."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Iterator
from typing import Final

from broker import __version__
from broker.doctor.finding import Finding, error, fine, notice, warning
from broker.doctor.scene import Scene
from broker.errors import UnknownCredential
from broker.integrations import installed_helper

RUNS: Final = 5
SLOW_MS: Final = 200.0
"""Far above what it takes on a busy machine (1 ms native, 15 ms Python)."""

_NOBODY: Final = "doctor.asks.for.none"
"""A credential that nobody has: the daemon's refusal takes the same way as a token, and nothing is handed out."""

_RUN_S: Final = 2.0
_REINSTALL: Final = "reinstall the package: pip install --force-reinstall claude-credential-broker"


def check(scene: Scene) -> list[Finding]:
    """Look at it, and run it a few times."""
    if not scene.helper.is_file():  # a FIFO in its place would hang whoever opens it
        return [error("helper-missing", f"{scene.helper} is missing", "Claude Code has nothing to ask", _REINSTALL)]
    if not os.access(scene.helper, os.X_OK):
        mend = f"chmod 755 {scene.helper}"
        return [error("helper-not-executable", f"{scene.helper} cannot be run", "Claude Code gets no key", mend)]
    kind = installed_helper.kind(scene.helper)
    found = [*_kind(kind), *_version(scene)]
    timed, problem = _time(scene) if scene.status is not None else ([], None)
    if problem is not None:
        return [*found, problem]
    if not timed:
        return found or [fine("helper", f"{kind}; how fast it is can be told while a daemon runs")]
    median_ms = statistics.median(timed)
    if median_ms > SLOW_MS:
        why = "Claude Code waits for it, and a busy machine may reach its limit of 10 s"
        mend = f"see what makes programs start slowly here: time {scene.helper} --version"
        found.append(warning("helper-slow", f"the helper takes {median_ms:.0f} ms (median of {RUNS})", why, mend))
    return found or [fine("helper", f"{kind}, answers in {median_ms:.0f} ms")]


def _kind(kind: str) -> Iterator[Finding]:
    if kind == "python":
        yield notice(
            "helper-python",
            "the helper is the Python one: the package was installed where no C compiler was",
            "it takes ten times as long as the native one, some 15 ms",
            f"install a C compiler (gcc, clang), then {_REINSTALL}",
        )


def _version(scene: Scene) -> Iterator[Finding]:
    said = _run(scene, "--version")
    words = "" if said is None else said.stderr.strip()
    if f" {__version__} " not in f"{words} ":
        yield warning(
            "helper-version",
            f"{scene.helper} is not of version {__version__}",
            "helper and daemon are made for each other",
            _REINSTALL,
        )


def _time(scene: Scene) -> tuple[list[float], Finding | None]:
    timed = []
    for _ in range(RUNS):
        began = time.perf_counter()
        done = _run(scene, _NOBODY)
        timed.append((time.perf_counter() - began) * 1000)
        if done is None or done.returncode != UnknownCredential.exit_code:
            return [], _failed(done)
    return timed, None


def _run(scene: Scene, argument: str) -> subprocess.CompletedProcess[str] | None:
    """Run it once; None where it cannot be run, or hangs. What it prints on stdout, a token perhaps, is never read."""
    try:
        return subprocess.run(
            [str(scene.helper), argument],
            env={**scene.env, "BROKER_AUTOSTART": "0"},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=_RUN_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


def _failed(done: subprocess.CompletedProcess[str] | None) -> Finding:
    said = "it does not come back" if done is None else next(iter(done.stderr.splitlines()), f"exit {done.returncode}")
    return error(
        "helper-fails", f"the helper cannot ask the daemon: {said}", "Claude Code gets no key", "broker restart"
    )
