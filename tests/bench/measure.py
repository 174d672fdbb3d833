"""Starts programs as cheaply as the system can and takes their time, both sides of a comparison in turns."""

from __future__ import annotations

import gc
import os
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

DEVNULL: Final = Path(os.devnull)
TRUE: Final = Path("/bin/true")
WARM_UP: Final = 3
BLOCK: Final = 20


@dataclass(frozen=True, slots=True)
class Command:
    """A program to be measured: its full path and arguments, its whole environment, and the files it talks to."""

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: Path = DEVNULL
    stdout: Path = DEVNULL

    def spawn(self) -> int:
        """Start it and return its pid. posix_spawn shares our memory until exec: no cost of a fork is measured."""
        files = [
            (os.POSIX_SPAWN_OPEN, 0, str(self.stdin), os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(self.stdout), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600),
        ]
        return os.posix_spawn(self.argv[0], list(self.argv), dict(self.env), file_actions=files)

    def seconds(self) -> float:
        """Run it and return how long that took."""
        start = time.perf_counter()
        _reap(self.spawn(), self)
        return time.perf_counter() - start


BIN_TRUE: Final = Command([str(TRUE)])
"""The yardstick: what starting and ending any program costs here."""


def warm_seconds(rounds: int, **commands: Command) -> dict[str, float]:
    """Run the commands in turns, a block of each (A A A B B B A A A ...), and return each one's typical time.

    Blocks, since warm is what is asked for: the first runs of each block only warm up. Each round's median and then
    the median of the rounds, since the machine has other things to do.
    """
    taken: dict[str, list[float]] = {name: [] for name in commands}
    with no_garbage_collection():
        for _ in range(rounds):
            for name, command in commands.items():
                block = [command.seconds() for _ in range(WARM_UP + BLOCK)]
                taken[name].append(statistics.median(block[WARM_UP:]))
    return {name: statistics.median(times) for name, times in taken.items()}


def storm_seconds(count: int, command: Command) -> float:
    """Start `count` of them without waiting for any, and return when the last has ended."""
    with no_garbage_collection():
        start = time.perf_counter()
        pids = [command.spawn() for _ in range(count)]
        for pid in pids:
            _reap(pid, command)
        return time.perf_counter() - start


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Keep our own collector out of the times."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _reap(pid: int, command: Command) -> None:
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code != 0:
        raise RuntimeError(f"{' '.join(command.argv)} ended with {code}")
