"""An ask through a face: each process that it may be is judged, and what was judged is all that is handed out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import pytest

from broker.errors import BadRequest, Refused
from broker.model import Kind
from broker.platform.interface import Peer
from broker.service.admission import Caller
from broker.service.ancestors import Lineage
from broker.service.consumers import Consumer
from broker.service.guard import Guard
from tests.service.virtual_time import in_virtual_time
from tests.service.world import HELPER, World


@dataclass
class Judge:
    """A guard that notes whom it is asked about and as what, and refuses the processes that it is told to."""

    refused: frozenset[int] = frozenset()
    judged: list[tuple[int, Kind, bool]] = field(default_factory=list)

    async def check(
        self, lineage: Lineage, _told: object, _audience: object, kind: Kind, *, as_key: bool = True
    ) -> None:
        """Judge."""
        pid = lineage.chain[0].pid
        self.judged.append((pid, kind, as_key))
        if pid in self.refused:
            raise Refused("steered elsewhere")


def consumer(*pids: int, wants: Kind = Kind.API_KEY, holds: bool = True) -> Caller:
    """Ask through a face."""
    return Caller(Peer(1000, pids[0]), wants=wants, consumer=Consumer(pids, lambda: holds))


@in_virtual_time
async def test_everybody_who_may_read_the_answer_is_judged() -> None:
    """A connection that a child inherited is as good as its worst holder."""
    world, judge = World(), Judge()
    world.broker.admission._guard = cast("Guard", judge)
    await world.token("work", consumer(20, 30))
    assert judge.judged == [(20, Kind.API_KEY, False), (30, Kind.API_KEY, False)]
    judge.refused = frozenset({30})
    with pytest.raises(Refused, match="steered elsewhere"):
        await world.token("work", consumer(20, 30))


@in_virtual_time
async def test_who_let_go_of_the_connection_meanwhile_gets_nothing() -> None:
    """Its pid may be another process's by now, and the answer another one's to read."""
    world = World()
    with pytest.raises(Refused, match="not the process that asked"):
        await world.token("work", consumer(20, holds=False))
    with pytest.raises(Refused, match="not the process that asked"):
        await world.token("work", consumer(99))  # it is gone
    assert [fetcher.calls for fetcher in world.fetchers] == [0, 0]


@in_virtual_time
async def test_another_kind_than_the_guard_judged_is_not_handed_out() -> None:
    """A face of AWS's asked for a key of Anthropic's: where that may go nobody looked."""
    world, judge = World(), Judge()
    world.broker.admission._guard = cast("Guard", judge)
    with pytest.raises(BadRequest, match="work is an api-key, not an aws-session"):
        await world.token("work", consumer(20, wants=Kind.AWS_SESSION))
    assert judge.judged == [(20, Kind.AWS_SESSION, False)]


@in_virtual_time
async def test_asking_early_by_kind_tells_of_no_refusal() -> None:
    """SDKs ask at every signing when little life is left; only Claude Code's own commands mean that upstream refused."""
    world = World()
    as_process = Caller(HELPER.peer, wants=Kind.API_KEY)
    for caller in (as_process, consumer(30)):
        first = await world.token("work", caller)
        assert [await world.token("work", caller) for _ in range(5)] == [first] * 5
    assert world.broker.keeper("work").life.counters.rejections == 0
