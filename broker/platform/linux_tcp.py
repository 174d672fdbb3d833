"""Linux: who is at the other end of a loopback TCP connection, by sock_diag(7) and `/proc/PID/fd`.

Asked for one socket by its four-tuple the kernel looks it up in its table; `/proc/net/tcp` would have to be read whole,
with every connection that ended in the last minute.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable
from typing import Final

from broker.platform.interface import TcpPeer

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLM_F_REQUEST: Final = 1
_NO_COOKIE: Final = 0xFFFFFFFF
_ESTABLISHED: Final = 1
_HEADER: Final = struct.Struct("=IHHII")  # struct nlmsghdr
_REQUEST: Final = struct.Struct("=BBBBI")  # struct inet_diag_req_v2, before its `id`
_PORTS: Final = struct.Struct("!HH")  # struct inet_diag_sockid: source, destination, two addresses, the rest
_ADDRESS_BYTES: Final = 16
_REST: Final = struct.Struct("=III")  # interface, cookie
_FOUND: Final = struct.Struct("=BBBB")  # struct inet_diag_msg: family, state, ...; then the id
_OWNER: Final = struct.Struct("=IIIII")  # ...; expires, two queues, uid, inode
_SOCKET_ID_BYTES: Final = _PORTS.size + 2 * _ADDRESS_BYTES + _REST.size
_ANSWER_MAX: Final = 4096
_PLACES_MAX: Final = 1024


class TcpPeers:
    """Looks them up, and remembers under which descriptor each process had its last one: a program uses few."""

    def __init__(self) -> None:
        self._places: dict[int, str] = {}

    def peer(self, connection: socket.socket, among: Iterable[int] | None) -> TcpPeer:
        """See `Platform.tcp_peer`."""
        uid, inode = _owner(connection)
        wanted = f"socket:[{inode}]"
        if among is None:
            return TcpPeer(uid, self._holders(_processes(), wanted), inode)
        pids = tuple(among)
        known = next((pid for pid in pids if self._had_it(pid, wanted)), None)
        return TcpPeer(uid, self._holders(pids, wanted) if known is None else (known,), inode)

    def _holders(self, pids: Iterable[int], wanted: str) -> tuple[int, ...]:
        return tuple(pid for pid in pids if self._has(pid, wanted))

    def _had_it(self, pid: int, wanted: str) -> bool:
        """Whether it has it where it had its last one: a fiftieth of the cost of looking everywhere."""
        place = self._places.get(pid)
        return place is not None and _file(place) == wanted

    def _has(self, pid: int, wanted: str) -> bool:
        place = next((place for place in _open_files(pid) if _file(place) == wanted), None)
        if place is None:
            return False
        if len(self._places) >= _PLACES_MAX:
            self._places.clear()
        self._places[pid] = place
        return True


def _owner(connection: socket.socket) -> tuple[int, int]:
    """Return uid and inode of the other end's socket. Raises `OSError` where it is not, or no longer, connected."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as kernel:
        kernel.send(_question(connection))
        answer = kernel.recv(_ANSWER_MAX)
    _length, what, *_ = _HEADER.unpack_from(answer)
    if what != _SOCK_DIAG_BY_FAMILY:
        raise ConnectionError("the kernel knows no such connection")
    _family, state, *_ = _FOUND.unpack_from(answer, _HEADER.size)
    *_, uid, inode = _OWNER.unpack_from(answer, _HEADER.size + _FOUND.size + _SOCKET_ID_BYTES)
    # One that is being closed is shown as root's; and where the end is gone, who listens at its port is found instead.
    if state != _ESTABLISHED or not inode:
        raise ConnectionError("the connection is being closed")
    return uid, inode


def _question(connection: socket.socket) -> bytes:
    own, theirs = connection.getsockname(), connection.getpeername()
    addresses = (socket.inet_pton(connection.family, at[0]).ljust(_ADDRESS_BYTES, b"\0") for at in (theirs, own))
    name = _PORTS.pack(theirs[1], own[1]) + b"".join(addresses) + _REST.pack(0, _NO_COOKIE, _NO_COOKIE)
    body = _REQUEST.pack(connection.family, socket.IPPROTO_TCP, 0, 0, 1 << _ESTABLISHED) + name
    return _HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0) + body


def _open_files(pid: int) -> list[str]:
    """Name what a process has open: nothing of one that is another user's, or guards itself."""
    folder = f"/proc/{pid}/fd"
    try:
        return [f"{folder}/{name}" for name in os.listdir(folder)]  # noqa: PTH208  # on the path of every ask
    except OSError:  # it has ended, or is not ours to see
        return []


def _file(place: str) -> str | None:
    try:
        return os.readlink(place)  # noqa: PTH115  # as above
    except OSError:  # closed meanwhile
        return None


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208  # strings will do
