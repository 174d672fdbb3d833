"""Linux: `/proc` and `SO_PEERCRED`. Reading `/proc` directly is ten times as quick as psutil."""

from __future__ import annotations

import ctypes
import os
import resource
import socket
import struct
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache
from typing import Final

from broker.model import Process
from broker.platform import pages
from broker.platform.interface import Peer, Pinned, TcpPeer
from broker.platform.linux_tcp import TcpPeers

_UCRED: Final = struct.Struct("iII")  # pid, uid, gid: unix(7), struct ucred
_PR_SET_DUMPABLE: Final = 4  # prctl(2)
_STAT_MAX: Final = 1024
_READ_MAX: Final = 1 << 20
_READ_FIRST: Final = 4096
"""Nearly always all there is; a buffer of the whole limit would cost more than the reading."""


class _Pinned:
    """A process, by its `stat` file: the kernel keeps that bound to the process, whatever becomes of the pid."""

    def __init__(self, process: Process, descriptor: int, raw: bytes) -> None:
        self.process = process
        self._descriptor = descriptor
        self._head = raw[: raw.rindex(b")") + 2]  # pid and name
        self._parent = f" {process.parent} ".encode()

    def same(self) -> bool:
        """Whether it still runs, under the same name and the same parent; far cheaper than describing it again."""
        try:
            raw = os.pread(self._descriptor, _STAT_MAX, 0)
        except OSError:  # ESRCH: it has ended
            return False
        return raw.startswith(self._head) and raw.startswith(self._parent, len(self._head) + 1)  # after the state

    def close(self) -> None:
        """Let go of it."""
        os.close(self._descriptor)


class Linux:
    """The `Platform` of Linux."""

    def __init__(self) -> None:
        self._tcp_peers = TcpPeers()

    def peer(self, connection: socket.socket) -> Peer:
        """Name the process that connected. Raises `OSError` when the connection is gone."""
        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        pid, uid, _gid = _UCRED.unpack(raw)
        return Peer(uid=uid, pid=pid)

    def tcp_peer(self, connection: socket.socket, among: Iterable[int] | None = None) -> TcpPeer:
        """Tell who is at the other end of a TCP connection. Raises `OSError` unless it stands."""
        return self._tcp_peers.peer(connection, among)

    def process(self, pid: int) -> Process | None:
        """Describe a running process; None when it is gone or hidden."""
        return _parsed(pid, _read(f"/proc/{pid}/stat", _STAT_MAX))

    def pin(self, pid: int) -> Pinned | None:
        """Describe a running process and hold on to it until `close`; None when it is gone or hidden."""
        try:
            descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        raw = b""
        with suppress(OSError):
            raw = os.pread(descriptor, _STAT_MAX, 0)
        process = _parsed(pid, raw)
        if process is None:
            os.close(descriptor)
            return None
        return _Pinned(process, descriptor, raw)

    def arguments(self, pid: int) -> Sequence[str]:
        """Return the command line of a process; empty when it cannot be read."""
        raw = _read(f"/proc/{pid}/cmdline", _READ_MAX)
        return raw.decode(errors="surrogateescape").split("\0")[:-1]

    def environment(self, pid: int) -> bytes | None:
        r"""Return what the process was started with, each variable as `NAME=VALUE\0`; None when it cannot be read."""
        return _read_or_none(f"/proc/{pid}/environ", _READ_MAX)

    def folder(self, pid: int) -> str | None:
        """Return the working folder of a process; None when it cannot be read."""
        try:
            return os.readlink(f"/proc/{pid}/cwd")  # noqa: PTH115  # on the path of every ask; a Path takes three times as long
        except OSError:
            return None

    def apart(self, pid: int) -> bool:
        """Whether a path may lead this process elsewhere than us: it is in a container, say; True when in doubt."""
        theirs = _mounts_of(str(pid))
        return theirs is None or theirs != _own_mounts()

    def harden(self) -> None:
        """Keep this process's memory from other programs: no debugger, no core dump."""
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def give_back_pages(self) -> None:
        """Let go of memory that only start-up needed and that the system finds again by itself."""
        pages.give_back()


def _mounts_of(pid: str) -> str | None:
    """Name the mount namespace of a process: mount_namespaces(7)."""
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt")  # noqa: PTH115  # as above
    except OSError:
        return None


@cache
def _own_mounts() -> str | None:
    return _mounts_of("self")


def _parsed(pid: int, raw: bytes) -> Process | None:
    # The name stands in parentheses and may itself hold any of them: cut at the first and at the last.
    head, found, tail = raw.rpartition(b")")
    if not found:
        return None
    fields = tail.split(None, 21)  # from field 3 (state) on: proc_pid_stat(5)
    name = head.partition(b"(")[2].decode(errors="replace")
    return Process(pid, parent=int(fields[1]), started=int(fields[19]), name=name)


def _read(path: str, limit: int) -> bytes:
    return _read_or_none(path, limit) or b""


def _read_or_none(path: str, limit: int) -> bytes | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        start = os.read(descriptor, min(_READ_FIRST, limit))
        return start if len(start) < _READ_FIRST else start + os.read(descriptor, limit - _READ_FIRST)
    except OSError:  # the process ended between the two calls
        return None
    finally:
        os.close(descriptor)
