"""Whose process a face's connection belongs to, and who is not let in."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import cast

import pytest

from broker.errors import Refused
from broker.platform.interface import Peer, Platform, TcpPeer
from broker.service.consumers import REMEMBERED_MAX, Consumers

CONNECTION = cast("socket.socket", object())


@dataclass
class Kernel:
    """Says who holds the other end, and remembers which processes it was asked about; None: all of them."""

    uid: int | None = field(default_factory=os.geteuid)
    holders: frozenset[int] = frozenset({7})
    inode: int = 1
    gone: bool = False
    asked: list[tuple[int, ...] | None] = field(default_factory=list)

    def tcp_peer(self, _connection: socket.socket, among: Iterable[int] | None = None) -> TcpPeer:
        self.asked.append(None if among is None else tuple(among))
        if self.gone:
            raise ConnectionError("closed")
        held = self.holders if among is None else [pid for pid in self.asked[-1] or () if pid in self.holders]
        return TcpPeer(self.uid, tuple(sorted(held)), self.inode)


@dataclass
class World:
    """The kernel, and who was turned away."""

    kernel: Kernel = field(default_factory=Kernel)
    away: list[Peer] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.consumers = Consumers(cast("Platform", self.kernel), self.away.append)


async def test_who_asked_before_is_found_without_looking_at_every_process() -> None:
    """The first ask costs a look at all of the user's, the next ones at those that asked."""
    world = World()
    assert (await world.consumers.of(CONNECTION)).pids == (7,)
    assert (await world.consumers.of(CONNECTION)).pids == (7,)
    assert world.kernel.asked == [(), None, (7,)]


async def test_all_who_share_a_connection_count() -> None:
    """Any of them may read the answer."""
    world = World(Kernel(holders=frozenset({7, 8})))
    assert (await world.consumers.of(CONNECTION)).pids == (7, 8)
    assert (await world.consumers.of(CONNECTION)).pids == (7, 8)


def test_another_user_is_turned_away_before_any_process_is_looked_at() -> None:
    """And it is told to the audit trail; not even a list of processes is read for a stranger."""
    world = World(Kernel(uid=os.geteuid() + 1))
    with pytest.raises(Refused, match=f"serves uid {os.geteuid()} only"):
        world.consumers.check(CONNECTION)
    assert world.away == [Peer(os.geteuid() + 1, 0)]
    assert world.kernel.asked == [()]


async def test_a_process_that_hides_is_refused() -> None:
    """Nobody could tell whether there is a steered Claude Code above it."""
    world = World(Kernel(holders=frozenset()))
    world.consumers.check(CONNECTION)
    with pytest.raises(Refused, match="cannot see which process asks"):
        await world.consumers.of(CONNECTION)


async def test_a_connection_that_is_gone_is_nobodys() -> None:
    """It is closed without an answer."""
    world = World(Kernel(gone=True))
    with pytest.raises(ConnectionError):
        world.consumers.check(CONNECTION)
    with pytest.raises(ConnectionError):
        await world.consumers.of(CONNECTION)


@pytest.mark.parametrize("change", [{"gone": True}, {"holders": frozenset({9})}, {"inode": 2}])
async def test_the_last_look_sees_what_changed(change: dict[str, object]) -> None:
    """The connection closed, handed on, or another one in its place while the settings were read."""
    world = World()
    consumer = await world.consumers.of(CONNECTION)
    assert consumer.holds()
    for name, value in change.items():
        setattr(world.kernel, name, value)
    assert not consumer.holds()


async def test_only_so_many_are_remembered() -> None:
    """The one that asked longest ago is forgotten first."""
    world = World()
    for pid in range(1, REMEMBERED_MAX + 3):
        world.kernel.holders = frozenset({pid})
        await world.consumers.of(CONNECTION)
    world.kernel.asked.clear()
    await world.consumers.of(CONNECTION)
    (looked_at,) = world.kernel.asked
    assert looked_at == tuple(range(3, REMEMBERED_MAX + 3))
