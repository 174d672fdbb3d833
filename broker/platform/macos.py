"""macOS: `LOCAL_PEERCRED`, `LOCAL_PEERPID` and psutil."""

from __future__ import annotations

import os
import resource
import socket
import struct
from collections.abc import Iterable, Sequence
from typing import Final

import psutil

from broker.model import Process
from broker.platform.interface import Peer, Pinned, TcpPeer

_SOL_LOCAL: Final = 0  # sys/un.h
_LOCAL_PEERCRED: Final = 1
_LOCAL_PEERPID: Final = 2
_XUCRED: Final = struct.Struct("IIh2x16I")  # version, uid, number of groups, groups: sys/ucred.h
_PID: Final = struct.Struct("i")


class _Pinned:
    """A process, by pid and start time: nothing cheaper names it for good here."""

    def __init__(self, system: MacOS, process: Process) -> None:
        self.process = process
        self._system = system

    def same(self) -> bool:
        """Whether it still runs, under the same name and the same parent."""
        return self._system.process(self.process.pid) == self.process

    def close(self) -> None:
        """Nothing is held."""


class MacOS:
    """The `Platform` of macOS."""

    def peer(self, connection: socket.socket) -> Peer:
        """Name the process that connected. Raises `OSError` when the connection is gone."""
        _version, uid, *_groups = _XUCRED.unpack(connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, _XUCRED.size))
        (pid,) = _PID.unpack(connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERPID, _PID.size))
        return Peer(uid=uid, pid=pid)

    def tcp_peer(self, connection: socket.socket, among: Iterable[int] | None = None) -> TcpPeer:
        """Tell who is at the other end of a TCP connection; of others than the user's own processes nothing is known."""
        ends = (connection.getpeername()[:2], connection.getsockname()[:2])
        held = tuple(pid for pid in (psutil.pids() if among is None else among) if _holds(pid, ends))
        return TcpPeer(os.geteuid() if held else None, held)

    def process(self, pid: int) -> Process | None:
        """Describe a running process; None when it is gone or hidden."""
        try:
            found = psutil.Process(pid)
            with found.oneshot():
                started = int(found.create_time() * 1000)
                return Process(pid, parent=found.ppid(), started=started, name=found.name())
        except psutil.Error:
            return None

    def arguments(self, pid: int) -> Sequence[str]:
        """Return the command line of a process; empty when it cannot be read."""
        try:
            return psutil.Process(pid).cmdline()
        except psutil.Error:
            return ()

    def pin(self, pid: int) -> Pinned | None:
        """Describe a running process and hold on to it until `close`; None when it is gone or hidden."""
        found = self.process(pid)
        return None if found is None else _Pinned(self, found)

    def environment(self, pid: int) -> bytes | None:
        r"""Return what the process was started with, each variable as `NAME=VALUE\0`; None when it cannot be read."""
        try:
            found = psutil.Process(pid).environ()
        except psutil.Error:
            return None
        return "".join(f"{name}={value}\0" for name, value in found.items()).encode(errors="surrogateescape")

    def folder(self, pid: int) -> str | None:
        """Return the working folder of a process; None when it cannot be read."""
        try:
            return str(psutil.Process(pid).cwd()) or None
        except psutil.Error:
            return None

    def apart(self, pid: int) -> bool:  # noqa: ARG002  # the interface's
        """Whether a path may lead this process elsewhere than us; never here: there are no containers of this kind."""
        return False

    def harden(self) -> None:
        """Keep this process's memory from other programs: no core dump. (macOS guards against debuggers itself.)"""
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def give_back_pages(self) -> None:
        """Nothing: here nobody tells which pages can be had again."""


def _holds(pid: int, ends: tuple[tuple[str, int], tuple[str, int]]) -> bool:
    """Whether a process of the user's has this end of an established connection."""
    try:
        process = psutil.Process(pid)
        if process.uids().effective != os.geteuid():
            return False
        found = process.net_connections("tcp")
    except psutil.Error:
        return False
    standing = (known for known in found if known.status == psutil.CONN_ESTABLISHED and known.raddr)
    return any((_plain(known.laddr), _plain(known.raddr)) == ends for known in standing)


def _plain(address: tuple[str, int]) -> tuple[str, int]:
    """Write an IPv4 address as IPv4, also where a socket of both families has it."""
    return address[0].removeprefix("::ffff:"), address[1]
