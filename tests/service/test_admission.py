"""When AWS keys that are asked for early are taken for refused."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import pytest

from broker.config import DaemonConfig
from broker.engine.policy import Told
from broker.errors import TransientFetchError
from broker.model import Issued, Kind, Process
from broker.service.admission import Caller
from broker.service.consumers import Consumer
from tests.service.scripted import ScriptedFetcher, Step
from tests.service.virtual_time import in_virtual_time
from tests.service.world import HELPER, FakePinned, World

if TYPE_CHECKING:
    from broker.service.guard import Guard

EXPORT = "broker-helper"
"""What the shell of the fake process table runs."""

AS_HELPER = Caller(HELPER.peer, Told(None, ()), wants=Kind.AWS_SESSION)


class Sessions(ScriptedFetcher):
    """A source of AWS sessions."""

    async def fetch(self) -> Issued:
        """Call them so."""
        return replace(await super().fetch(), kind=Kind.AWS_SESSION)


@dataclass
class Settings:
    """A guard that lets everybody pass, and knows what `awsCredentialExport` the settings name."""

    exports_: frozenset[str] = frozenset({EXPORT})

    async def check(self, *_: object, **__: object) -> None:
        """Let pass."""

    async def exports(self, *_: object) -> frozenset[str]:
        """Say what they name."""
        return self.exports_


def world_of(settings: Settings, *script: Step, infer: bool = True) -> World:
    """Make one whose credentials are AWS sessions of an hour."""
    world = World(*script, fetcher_type=Sessions, daemon=DaemonConfig(infer_rejection=infer))
    world.broker.admission._guard = cast("Guard", settings)
    return world


async def fetches(world: World, caller: Caller, *pauses_s: float) -> int:
    """Ask after each pause; return how often the source has been asked by then."""
    for pause_s in pauses_s:
        await asyncio.sleep(pause_s)
        await world.token("work", caller)
    return world.fetchers[0].calls


@in_virtual_time
async def test_keys_that_claude_code_exports_again_early_were_refused() -> None:
    """They are renewed before it is answered, and once, however often it asks at its start and after the refusal."""
    world = world_of(Settings())
    assert await fetches(world, AS_HELPER, 0, 0.3, 0.3) == 1, "it starts, and asks more than once"
    assert await fetches(world, AS_HELPER, 600, 0.5, 0.5) == 2
    assert len(world.audited("rejected")) == 1


@in_virtual_time
async def test_a_session_that_asks_again_shortly_before_the_end_was_not_refused() -> None:
    """Claude Code renews keys 5 min before they expire: here they do so for want of a source that gives others."""
    steps = (Step(lifetime_s=900.0), *[Step(error=TransientFetchError("away"))] * 20)
    world = world_of(Settings(), *steps)
    await fetches(world, AS_HELPER, 0, 560)
    assert world.audited("rejected") == []


@pytest.mark.parametrize(
    ("caller", "settings"),
    [
        pytest.param(AS_HELPER, Settings(frozenset({f"{EXPORT} --aws other"})), id="a profile's credential_process"),
        pytest.param(AS_HELPER, Settings(frozenset()), id="no awsCredentialExport"),
        pytest.param(replace(AS_HELPER, told=Told(None, (("CLAUDECODE", "1"),))), Settings(), id="in a tool"),
        pytest.param(replace(AS_HELPER, told=None), Settings(), id="no helper"),
        pytest.param(
            replace(AS_HELPER, told=None, consumer=Consumer((30,), lambda: True)), Settings(), id="at an endpoint"
        ),
    ],
)
@in_virtual_time
async def test_sdks_ask_as_often_as_they_like(caller: Caller, settings: Settings) -> None:
    """Each prompt or signing of theirs may ask: that is no refusal, and the source is left alone."""
    assert await fetches(world_of(settings), caller, 0, *[30] * 20) == 1


@in_virtual_time
async def test_a_broker_that_is_closed_holds_on_to_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each that it remembers is a descriptor."""
    world, held = world_of(Settings()), set[int]()

    def pin(pid: int) -> FakePinned:
        held.add(pid)
        return FakePinned(Process(pid, 1, 5, "curl"))

    monkeypatch.setattr(world.platform, "pin", pin)
    monkeypatch.setattr(FakePinned, "close", lambda pinned: held.discard(pinned.process.pid))
    await fetches(world, AS_HELPER, 0)
    assert held == {30}
    await world.broker.close()
    assert held == set()


@in_virtual_time
async def test_nothing_is_inferred_from_exports_where_that_is_switched_off() -> None:
    """`infer_rejection = false` holds for keys too."""
    assert await fetches(world_of(Settings(), infer=False), AS_HELPER, 0, 600) == 1
