"""What is made of a credential while the daemon runs: other scopes, ID tokens for an audience."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from broker.config import SourceConfig
from broker.errors import BadRequest, Locked, Refused, UnknownCredential
from broker.service.relatives import MOST
from broker.sources.interface import NoSettings, Wish
from tests.service.scripted import Step, text_of
from tests.service.virtual_time import in_virtual_time
from tests.service.world import PERSON, Settings, World


def granting(*script: Step) -> World:
    """A world whose credentials grant every wish for an audience, but `closed` and what they are for already."""
    world = World(*script, names=("work",))

    def derived(settings: Settings, wish: Wish) -> Settings:
        if wish.target_audience == "closed":
            raise Refused("not for this audience")
        return Settings(wish.target_audience or settings.path)

    granting_type = replace(world.type, derived=derived)
    config = replace(world.config, sources={"corp": SourceConfig("corp", granting_type, NoSettings())})
    world.broker.apply(config)
    world.config = config
    world.fetchers.clear()
    world.sources.clear()
    return world


async def asked(world: World, audience: str | None) -> str:
    """Ask for what is wished."""
    served = await world.broker.token("work", 300, 9, PERSON, Wish(target_audience=audience))
    return text_of(served.held.issued)


@in_virtual_time
async def test_a_wish_is_fetched_once_for_all_who_have_it() -> None:
    """And kept like any token; the credential's own is another."""
    world = granting(Step(after_s=1.0))
    assert set(await asyncio.gather(*(asked(world, "gateway") for _ in range(100)))) == {"fake-token"}
    assert [fetcher.calls for fetcher in world.fetchers] == [1]
    await asked(world, "other")
    await world.token("work")
    assert len(world.broker.keepers()) == 3
    assert [name for _, name in world.broker.credentials()] == ["corp"]


@in_virtual_time
async def test_a_wish_that_the_own_token_grants_is_no_other_credential() -> None:
    """Nothing is fetched twice."""
    world = granting()
    assert await world.token("work") == await asked(world, None)
    assert len(world.broker.keepers()) == 1


@in_virtual_time
async def test_what_the_config_does_not_allow_is_refused() -> None:
    """By the source's own rule; most sources have nothing to derive."""
    with pytest.raises(Refused, match="not for this audience"):
        await asked(granting(), "closed")
    with pytest.raises(BadRequest, match="its own token and no other"):
        await asked(World(names=("work",)), "gateway")
    with pytest.raises(UnknownCredential):
        await granting().broker.token("elsewhere", 300, 9, PERSON, Wish(target_audience="x"))


@in_virtual_time
async def test_ever_new_wishes_do_not_fill_the_memory() -> None:
    """The one that was asked for least recently goes; who still waits for it is answered."""
    world = granting(Step(after_s=5.0))
    waiting = asyncio.create_task(asked(world, "first"))
    await asyncio.sleep(1)
    world.script = ()
    for number in range(MOST):
        await asked(world, f"audience-{number}")
    assert len(world.broker.keepers()) == 1 + MOST
    assert await waiting == "fake-token"
    before = len(world.fetchers)
    await asked(world, f"audience-{MOST - 1}")
    assert len(world.fetchers) == before
    await asked(world, "first")
    assert len(world.fetchers) == before + 1


@in_virtual_time
async def test_locking_drops_them_too() -> None:
    """Also those that were let go with somebody waiting."""
    world = granting()
    await asked(world, "gateway")
    world.script = (Step(after_s=5.0),)
    waiting = asyncio.create_task(asked(world, "slow"))
    await asyncio.sleep(1)
    world.script = ()
    for number in range(MOST):
        await asked(world, f"audience-{number}")
    await world.broker.safe.lock("a person")
    with pytest.raises(Locked):
        await waiting
    with pytest.raises(Locked):
        await asked(world, "gateway")
    assert len(world.broker.keepers()) == 1
    await world.broker.safe.unlock()
    assert await asked(world, "gateway")


@in_virtual_time
async def test_a_changed_credential_forgets_what_was_made_of_it() -> None:
    """Another identity's token would be handed out otherwise."""
    world = granting()
    await asked(world, "gateway")
    world.broker.apply(world.with_credential("work", settings=Settings("y")))
    before = len(world.fetchers)
    await asked(world, "gateway")
    assert len(world.fetchers) == before + 1


@in_virtual_time
async def test_closing_ends_their_fetches() -> None:
    """No thread or request outlives the daemon."""
    world = granting(Step(after_s=100.0))
    waiting = asyncio.create_task(asked(world, "gateway"))
    await asyncio.sleep(1)
    await world.broker.close()
    assert [fetcher.running for fetcher in world.fetchers if fetcher.calls] == [0]
    await asyncio.gather(waiting, return_exceptions=True)
