"""When a source may delete what it minted: as soon as no caller may use it, and not a moment earlier."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from typing import Any

import pytest

from tests.fakes.store import FakeStore
from tests.service.scripted import ReturningFetcher, Step
from tests.service.virtual_time import in_virtual_time
from tests.service.world import PERSON, Settings, World

SLACK_S = 60.0
"""The default `min_validity`."""


def returning(*script: Step, **changes: Any) -> World:  # noqa: ANN401  # World's own
    """Make a broker with one credential, whose source takes tokens back."""
    return World(*script, names=("work",), fetcher_type=ReturningFetcher, **changes)


def returned(world: World) -> list[tuple[str, float]]:
    """List what the source was told to let go, and in how many seconds."""
    fetchers = [fetcher for fetcher in world.fetchers if isinstance(fetcher, ReturningFetcher)]
    return [
        (text, round(seconds) if seconds < math.inf else seconds)
        for fetcher in fetchers
        for text, seconds in fetcher.returned
    ]


def closed(world: World) -> bool:
    """Whether the source was."""
    return world.sources[0].closed


async def ask(world: World, ttl_s: float) -> None:
    """Let somebody have the token for so long."""
    await world.broker.token("work", ttl_s, 9, PERSON)


@in_virtual_time
async def test_a_replaced_token_is_let_go_when_the_longest_ttl_that_was_promised_is_over() -> None:
    """With the slack that every caller gets on top of its TTL."""
    world = returning()
    await ask(world, 900)
    await asyncio.sleep(10)
    await ask(world, 300)
    await world.broker.keeper("work").refresh()
    assert returned(world) == [("fake-token-1", 900 + SLACK_S - 10)]


@in_virtual_time
async def test_a_token_that_was_given_without_a_ttl_is_left_until_it_dies() -> None:
    """`broker exec` starts a program that has it for hours, and nobody knows for how long."""
    world = returning()
    await ask(world, 300)
    await ask(world, 0)
    await world.broker.keeper("work").refresh()
    assert returned(world) == [("fake-token-1", math.inf)]


@in_virtual_time
async def test_a_promise_for_one_token_is_none_for_the_next() -> None:
    """The next is held as long as its own callers need it; one that nobody got is let go at once."""
    world = returning()
    keeper = world.broker.keeper("work")
    await ask(world, 900)
    await keeper.refresh()
    await asyncio.sleep(20)
    await keeper.refresh()
    await ask(world, 100)
    await asyncio.sleep(20)
    await keeper.refresh()
    assert returned(world)[1:] == [("fake-token-2", 0), ("fake-token-3", 100 + SLACK_S - 20)]


@in_virtual_time
async def test_a_restart_leaves_the_token_that_the_next_daemon_will_serve() -> None:
    """Sessions that hold it go on; and nobody knows for how long an earlier daemon gave it out."""
    world = returning()
    await ask(world, 300)
    await world.broker.close()
    assert returned(world) == []
    after = returning(Step(text="fake-token-new"), store=world.store, clock=world.clock)
    after.broker.start()
    await ask(after, 300)
    await after.broker.keeper("work").refresh()
    assert returned(after) == [("fake-token-1", math.inf)]


@in_virtual_time
async def test_what_is_kept_nowhere_is_let_go_at_the_end() -> None:
    """No daemon would ever find it again."""
    world = returning(store=FakeStore(persist="off"))
    await ask(world, 300)
    await world.broker.close()
    assert returned(world) == [("fake-token-1", 300 + SLACK_S)]
    assert closed(world)


@in_virtual_time
async def test_a_refused_token_is_let_go_at_the_end() -> None:
    """It is kept for nobody."""
    world = returning()
    await ask(world, 300)
    keeper = world.broker.keeper("work")
    served = await world.broker.token("work", 300, 9, PERSON)
    keeper.retire()  # so that no better one comes in time
    keeper.rejected(served.fingerprint, "401")
    await keeper.close()
    assert [text for text, _ in returned(world)] == ["fake-token-1"]


@pytest.mark.parametrize(("persist", "gone"), [("keyring", []), ("off", ["fake-token-1"])])
@in_virtual_time
async def test_a_lock_lets_go_what_unlock_could_not_bring_back(persist: str, gone: list[str]) -> None:
    """The rest is in the encrypted store."""
    world = returning(store=FakeStore(persist=persist))
    world.broker.start()
    await ask(world, 300)
    await world.broker.safe.lock("a test")
    assert [text for text, _ in returned(world)] == gone


@in_virtual_time
async def test_a_credential_that_left_the_config_is_let_go_when_its_promises_are_over() -> None:
    """A reload fails no session; the source it came from is closed after that."""
    world = returning()
    await ask(world, 300)
    world.broker.apply(replace(world.config, sources={}, credentials={}, default=None))
    await asyncio.sleep(300)
    assert (closed(world), returned(world)) == (False, [])
    await asyncio.sleep(SLACK_S + 1)
    assert (closed(world), returned(world)) == (True, [("fake-token-1", 0)])


@in_virtual_time
async def test_a_token_that_was_replaced_just_before_a_reload_keeps_its_promise() -> None:
    """Its source takes it back when nobody may use it, and would take it back at once when it is closed."""
    world = returning()
    await ask(world, 300)
    await world.broker.keeper("work").refresh()
    world.broker.apply(replace(world.config, sources={}, credentials={}, default=None))
    await asyncio.sleep(300)
    assert not closed(world)
    await asyncio.sleep(SLACK_S + 1)
    assert closed(world)


@in_virtual_time
async def test_two_reloads_in_a_row_break_no_promise_either() -> None:
    """The first drops the credential, the second the source, which its token still needs."""
    world = returning()
    await ask(world, 300)
    world.broker.apply(world.with_credential("work", settings=Settings("other")))
    await asyncio.sleep(1)
    world.broker.apply(replace(world.config, sources={}, credentials={}, default=None))
    await asyncio.sleep(299)
    assert (closed(world), returned(world)) == (False, [])
    await asyncio.sleep(SLACK_S + 1)
    assert (closed(world), returned(world)) == (True, [("fake-token-1", 0)])


@in_virtual_time
async def test_the_daemons_end_waits_for_no_promise() -> None:
    """What a reload left behind is let go at once then."""
    world = returning()
    await ask(world, 300)
    world.broker.apply(replace(world.config, sources={}, credentials={}, default=None))
    await asyncio.sleep(1)
    await world.broker.close()
    assert closed(world)
    assert returned(world) == [("fake-token-1", 300 + SLACK_S - 1)]
    assert asyncio.get_running_loop().time() < 10
