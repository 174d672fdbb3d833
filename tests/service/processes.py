"""A process table of a test's own, behind the `Platform` interface."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from broker.model import Process
from broker.platform.interface import Peer, Pinned, TcpPeer


@dataclass
class Held:
    """A process held on to, as it was when it was pinned."""

    table: Processes
    process: Process
    closed: bool = False

    def same(self) -> bool:
        """Whether the table still says so."""
        assert not self.closed, "a pin that was let go of says nothing"
        return self.table.running.get(self.process.pid) == self.process

    def close(self) -> None:
        """Let go, once."""
        assert not self.closed, "let go of twice"
        self.closed = True


@dataclass
class Processes:
    """Which processes run, and what the kernel shows of them. Counts what is asked."""

    running: dict[int, Process] = field(default_factory=dict)
    argv: dict[int, list[str]] = field(default_factory=dict)
    environments: dict[int, bytes] = field(default_factory=dict)
    folders: dict[int, str] = field(default_factory=dict)
    contained: set[int] = field(default_factory=set)
    pins: list[Held] = field(default_factory=list)
    looks: int = 0

    def run(self, pid: int, name: str, parent: int, started: int = 1) -> Process:
        """Let a process run."""
        self.running[pid] = Process(pid, parent, started, name)
        return self.running[pid]

    @property
    def held(self) -> int:
        """How many processes are held on to now."""
        return sum(not pin.closed for pin in self.pins)

    def peer(self, connection: socket.socket) -> Peer:
        """Not asked."""
        raise NotImplementedError

    def tcp_peer(self, connection: socket.socket, among: Iterable[int] | None = None) -> TcpPeer:
        """Not asked."""
        raise NotImplementedError

    def process(self, pid: int) -> Process | None:
        """Look into the table."""
        self.looks += 1
        return self.running.get(pid)

    def pin(self, pid: int) -> Pinned | None:
        """Look into the table, and hold on."""
        found = self.process(pid)
        if found is None:
            return None
        self.pins.append(Held(self, found))
        return self.pins[-1]

    def arguments(self, pid: int) -> Sequence[str]:
        """Look into the table."""
        return self.argv.get(pid, [])

    def environment(self, pid: int) -> bytes | None:
        """Look into the table."""
        return self.environments.get(pid)

    def folder(self, pid: int) -> str | None:
        """Look into the table."""
        return self.folders.get(pid)

    def apart(self, pid: int) -> bool:
        """Whether the test says so."""
        return pid in self.contained

    def harden(self) -> None:
        """Not asked."""

    def give_back_pages(self) -> None:
        """It keeps what it has."""
