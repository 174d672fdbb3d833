"""Whose process is at the other end of a face's connection: cheap for who asked before.

A face on loopback TCP is not told by the kernel who connects, as the control socket is: the process is found by the
socket that it holds. Several may hold the same one, since a child inherits it; then all of them have to pass the
guard. Where one that asked before holds it, the others are not looked for: whoever inherited a connection is below its
maker, and so below the same Claude Code. (A program may hand its connection to any other, as it may hand on the answer.)
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from broker.errors import Refused
from broker.platform.interface import Peer, Platform, TcpPeer

REMEMBERED_MAX: Final = 64
"""Processes looked at first; the one that asked longest ago is forgotten first."""


@dataclass(frozen=True, slots=True)
class Consumer:
    """The program that asks through a face. `pids`: every process that it may be, at least one.

    `holds`: whether the connection still stands and is held by these. Ask this last: a pid may be handed on.
    """

    pids: tuple[int, ...]
    holds: Callable[[], bool]


class Consumers:
    """Finds them. `turned_away` is told of another user's."""

    def __init__(self, platform: Platform, turned_away: Callable[[Peer], None]) -> None:
        self._platform = platform
        self._turned_away = turned_away
        self._known: OrderedDict[int, None] = OrderedDict()

    def check(self, connection: socket.socket) -> None:
        """Let only the daemon's own user in, as far as that is known at once. Raises as `of` does.

        Whoever can reach the port of a face is on the machine, and no more.
        """
        found = self._look(connection, ())
        if found.uid not in {None, os.geteuid()}:
            self._turned_away(Peer(found.uid or 0, 0))
            raise Refused(f"this daemon serves uid {os.geteuid()} only; start one of your own")

    async def of(self, connection: socket.socket) -> Consumer:
        """Find who is at the other end, after `check`. Raises `Refused`; `ConnectionError` where it is gone."""
        found = self._look(connection, tuple(self._known))
        if not found.pids:
            # Every process of the user's has to be looked at: some milliseconds, for the first ask of each.
            found = await asyncio.to_thread(self._look, connection, None)
        if not found.pids:
            raise Refused("cannot see which process asks: it shows nobody what it has open, or is in a container")
        for pid in found.pids:
            self._remember(pid)
        return Consumer(found.pids, lambda: self._holds(connection, found))

    def _remember(self, pid: int) -> None:
        self._known[pid] = None
        self._known.move_to_end(pid)
        if len(self._known) > REMEMBERED_MAX:
            self._known.popitem(last=False)

    def _look(self, connection: socket.socket, among: tuple[int, ...] | None) -> TcpPeer:
        try:
            return self._platform.tcp_peer(connection, among)
        except OSError as error:
            raise ConnectionResetError from error

    def _holds(self, connection: socket.socket, found: TcpPeer) -> bool:
        """Whether one of these holds it still: all of them were judged, and one that let go of it reads nothing."""
        with suppress(ConnectionError):
            now = self._look(connection, found.pids)
            return bool(now.pids) and (now.uid, now.socket) == (found.uid, found.socket)
        return False
