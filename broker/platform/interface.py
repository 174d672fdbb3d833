"""What the daemon needs to know from the operating system, behind one interface."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from broker.model import Process


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a Unix socket, as the kernel says. `pid` is 0 where it cannot be named."""

    uid: int
    pid: int


@dataclass(frozen=True, slots=True)
class TcpPeer:
    """Who is at the other end of a loopback TCP connection, which is established.

    `uid` made that end; None where the system does not say. `pids`: the processes that hold it, of those that were
    looked at. `socket` names the end as long as it is open; 0 where the system has no name for it.
    """

    uid: int | None
    pids: tuple[int, ...]
    socket: int = 0


class Pinned(Protocol):
    """One running process, held on to: a pid can be handed on to another process at any time, this cannot."""

    @property
    def process(self) -> Process:
        """The process as it was when it was pinned."""

    def same(self) -> bool:
        """Whether it still runs, under the same name and the same parent; far cheaper than describing it again."""

    def close(self) -> None:
        """Let go of it."""


class Platform(Protocol):
    """One operating system."""

    def peer(self, connection: socket.socket) -> Peer:
        """Name the process that connected. Raises `OSError` when the connection is gone."""

    def tcp_peer(self, connection: socket.socket, among: Iterable[int] | None = None) -> TcpPeer:
        """Tell who is at the other end of a TCP connection from this machine, by its exact addresses and ports.

        Holders are looked for among these processes, of whom it may be enough to find one; None: among all of the
        user's, which takes its time, and all are found. Raises `OSError` unless the connection stands: of one that is
        being closed nobody can say whose it was.
        """

    def process(self, pid: int) -> Process | None:
        """Describe a running process; None when it is gone or hidden."""

    def arguments(self, pid: int) -> Sequence[str]:
        """Return the command line of a process; empty when it cannot be read."""

    def pin(self, pid: int) -> Pinned | None:
        """Describe a running process and hold on to it until `close`; None when it is gone or hidden."""

    def environment(self, pid: int) -> bytes | None:
        r"""Return what the process was started with, each variable as `NAME=VALUE\0`; None when it cannot be read."""

    def folder(self, pid: int) -> str | None:
        """Return the working folder of a process; None when it cannot be read."""

    def apart(self, pid: int) -> bool:
        """Whether a path may lead this process elsewhere than us: it is in a container, say; True when in doubt."""

    def harden(self) -> None:
        """Keep this process's memory from other programs: no debugger, no core dump."""

    def give_back_pages(self) -> None:
        """Let go of memory that only start-up needed and that the system finds again by itself."""
