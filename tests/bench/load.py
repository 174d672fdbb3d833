"""Drives the load client in load.c: so many requests, each on a new connection of a Unix socket."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).with_name("load.c")
CONNECTIONS: Final = 8
"""Asked at the same time: enough to keep the server busy, and far from the client's own limit."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked: a socket, the paths that take turns, and what every answer must contain."""

    socket: Path
    paths: Sequence[str]
    must_contain: str


@dataclass(frozen=True, slots=True)
class Load:
    """The compiled client."""

    binary: Path

    def seconds(self, target: Target, requests: int, connections: int = CONNECTIONS) -> float:
        """Ask `requests` times and return how long that took in all; an unexpected answer raises."""
        return self._run(target, requests, connections)

    def is_answered(self, target: Target) -> bool:
        """Ask once, and tell whether the answer was the expected one."""
        with suppress(subprocess.CalledProcessError):
            return self._run(target, 1, 1, stderr=subprocess.DEVNULL) > 0
        return False

    def per_second(self, target: Target, requests: int, connections: int = CONNECTIONS) -> float:
        """Ask `requests` times and return how many were answered per second."""
        return requests / self.seconds(target, requests, connections)

    def _run(self, target: Target, requests: int, connections: int, stderr: int | None = None) -> float:
        wanted = [f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n" for path in target.paths]
        command = [str(self.binary), str(target.socket), str(connections), str(requests), target.must_contain, *wanted]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, text=True, check=True
        )
        return float(done.stdout)


@contextmanager
def load_client() -> Iterator[Load]:
    """Compile the client for as long as the block lasts."""
    folder = Path(tempfile.mkdtemp(prefix="load-"))
    try:
        binary = folder / "load"
        subprocess.run(
            ["cc", "-std=c11", "-O2", "-Wall", "-Wextra", "-pthread", "-o", str(binary), str(SOURCE)], check=True
        )
        yield Load(binary)
    finally:
        shutil.rmtree(folder)
