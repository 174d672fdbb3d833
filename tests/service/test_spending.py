"""Tokens that may be used once: each is lent to one borrower, and its source is not hammered for the next."""

from __future__ import annotations

import asyncio

import pytest

from broker.errors import LoginRequired, TransientFetchError
from broker.model import Timing
from broker.secret import Secret
from tests.service.scripted import HANGING_S, Step
from tests.service.virtual_time import in_virtual_time
from tests.service.world import World

DAMPED_S = Timing().refresh_interval_min_s


async def lent(world: World, name: str = "work") -> str:
    """Borrow one as a source does."""
    token = await world.context.token(name, fresh=True)
    assert isinstance(token, Secret)
    return token.reveal()


@in_virtual_time
async def test_no_token_is_lent_twice() -> None:
    """Neither to one borrower nor to two at the same time; others may have it all the same."""
    world = World()
    first = await lent(world)
    assert await world.token("work") == first
    await asyncio.sleep(DAMPED_S)
    second = await lent(world)
    await asyncio.sleep(DAMPED_S)
    third = await lent(world)
    assert len({first, second, third}) == 3


@in_virtual_time
async def test_who_asks_in_the_ordinary_way_gets_the_same_again() -> None:
    """Only an assertion is worth a fetch each time."""
    world = World()
    tokens = [(await world.context.token("work")).reveal() for _ in range(3)]
    assert len(set(tokens)) == 1


@in_virtual_time
async def test_a_borrower_that_comes_too_often_is_damped_and_told_so() -> None:
    """What it fails at is no reason to hammer where its assertions come from."""
    world = World()
    await lent(world)
    await lent(world)
    with pytest.raises(TransientFetchError, match="may be used once; the next one can be had in 10s"):
        await lent(world)
    assert world.fetchers[0].calls == 2
    await asyncio.sleep(DAMPED_S)
    await lent(world)
    assert world.fetchers[0].calls == 3


@in_virtual_time
async def test_two_borrowers_at_once_do_not_get_one_token() -> None:
    """The second waits for the first, and has one of its own or none."""
    world = World(Step(after_s=1.0, text="fake-token-a"), Step(after_s=1.0, text="fake-token-b"))
    assert set(await asyncio.gather(lent(world), lent(world))) == {"fake-token-a", "fake-token-b"}


@in_virtual_time
async def test_a_source_that_repeats_itself_is_told() -> None:
    """Used again, it would be refused."""
    world = World(Step(text="fake-token-same"), Step(text="fake-token-same"))
    await lent(world)
    with pytest.raises(TransientFetchError, match=r"credential work: .* its source gives the same again"):
        await lent(world)


@in_virtual_time
async def test_a_source_that_fails_is_told_by_its_own_words() -> None:
    """The used token is still valid, but of no use."""
    world = World(Step(), Step(error=TransientFetchError("the vault is sealed")))
    await lent(world)
    with pytest.raises(TransientFetchError, match="the vault is sealed"):
        await lent(world)


@in_virtual_time
async def test_a_source_that_hangs_is_not_waited_for_without_end() -> None:
    """The borrower's own fetch ends some time."""
    world = World(Step(), Step(after_s=HANGING_S))
    await lent(world)
    with pytest.raises(TransientFetchError, match="the next one did not come within 25s"):
        await lent(world)
    await world.broker.close()


@in_virtual_time
async def test_what_an_earlier_run_may_have_lent_is_not_lent_again() -> None:
    """A restart forgets what was used, so it trusts nothing that it did not fetch itself."""
    before = World()
    used = await lent(before)
    after = World(Step(text="fake-token-new"), store=before.store, clock=before.clock)
    after.broker.start()
    await asyncio.sleep(0.001)
    assert await after.token("work") == used
    assert await lent(after) == "fake-token-new"


@in_virtual_time
async def test_a_person_who_must_sign_in_is_told() -> None:
    """As for any token."""
    world = World(Step(error=LoginRequired("run: broker login corp")))
    with pytest.raises(LoginRequired, match="credential work: run: broker login corp"):
        await lent(world)
