"""Runs one program to its end: without a shell, in a session of its own, with a deadline and caps.

Blocking, for a thread of `blocking.py`: asyncio's own subprocesses differ from one Python version to the next in
who waits for the child and in what a pipe that a grandchild holds open does.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Final

OUTPUT_MAX: Final = 64 * 1024
"""Bytes taken of each of stdout and stderr; a token has at most a quarter of that."""

_GRACE_S: Final = 0.25
"""How long the pipes are read on after the program ended, while a child that it left behind holds them open."""

_STEP_S: Final = 0.05
_LAST_STEP_S: Final = 0.002


class Killed(Exception):
    """We killed the program with its whole process group; the subclass says why."""


class TimedOut(Killed):
    """It was still running at the deadline."""


class TooMuchOutput(Killed):
    """It wrote more than `OUTPUT_MAX`."""


class Stopped(Killed):
    """`stop` was set."""


@dataclass(frozen=True, slots=True)
class Finished:
    """How it ended; `returncode` is negative where a signal killed it."""

    returncode: int
    stdout: bytes
    stderr: bytes


def run(argv: Sequence[str], env: Mapping[str, str], timeout_s: float, stop: threading.Event) -> Finished:
    """Run `argv` to its end in `/`, with exactly `env` and nothing on stdin.

    Raises a `Killed`; `OSError` or `ValueError` where it could not be started.
    """
    process = subprocess.Popen(
        argv,
        env=env,
        cwd="/",  # a project's folder could hold files that steer the program
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,  # a group of its own to kill, and no terminal to ask questions on
    )
    try:
        return _Watch(process).until_end(time.monotonic() + timeout_s, stop)
    finally:
        _kill_group(process)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


class _Watch:
    """Reads both pipes until the program ends."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._ended_at: float | None = None
        self._selector = selectors.DefaultSelector()
        self._output: dict[int, bytearray] = {}
        self._pipes = [self._register(process.stdout), self._register(process.stderr)]

    def until_end(self, deadline: float, stop: threading.Event) -> Finished:
        """Read, until both pipes are closed and the program is gone, or its grace is over."""
        with self._selector:
            while not self._is_over():
                if stop.is_set():
                    raise Stopped
                if time.monotonic() >= deadline:
                    raise TimedOut
                self._read_some()
        stdout, stderr = (bytes(self._output[pipe]) for pipe in self._pipes)
        return Finished(self._process.returncode, stdout, stderr)

    def _register(self, pipe: IO[bytes] | None) -> int:
        assert pipe is not None  # noqa: S101  # Popen was given PIPE
        self._selector.register(pipe, selectors.EVENT_READ)
        self._output[pipe.fileno()] = bytearray()
        return pipe.fileno()

    def _is_over(self) -> bool:
        if self._process.poll() is None:
            return False
        if not self._selector.get_map():
            return True
        # A child left behind holds a pipe: what the program itself wrote is there at once.
        self._ended_at = self._ended_at or time.monotonic()
        return time.monotonic() >= self._ended_at + _GRACE_S

    def _read_some(self) -> None:
        if not self._selector.get_map():
            time.sleep(_LAST_STEP_S)  # it closed its outputs and is about to end
            return
        for key, _events in self._selector.select(_STEP_S):
            more = os.read(key.fd, OUTPUT_MAX)
            if not more:
                self._selector.unregister(key.fileobj)
            self._output[key.fd] += more
            if len(self._output[key.fd]) > OUTPUT_MAX:
                raise TooMuchOutput


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill the program and its children, if it still runs (`poll` keeps its number from being reused)."""
    if process.poll() is None:
        with suppress(ProcessLookupError, PermissionError):  # a set-uid child; macOS says so for a dying one
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
