"""What callers of a pool can rely on, whatever becomes of its members."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, cast

import pytest

from broker.config import DaemonConfig
from broker.errors import (
    BadRequest,
    DeadlineExceeded,
    LoginRequired,
    NeedsLogin,
    PermanentFetchError,
    Refused,
    SourceFailed,
    TransientFetchError,
)
from broker.model import Kind, Timing
from broker.service.admission import Caller
from broker.service.guard import Guard
from tests.service.pool_world import STATIC, PoolWorld
from tests.service.scripted import Step, text_of
from tests.service.virtual_time import in_virtual_time
from tests.service.world import HELPER, PERSON

A, B = "fake-token-a", "fake-token-b"


async def again(world: PoolWorld, caller: Caller = HELPER) -> str:
    """Ask a second later, as Claude Code's helper does after a refusal."""
    await asyncio.sleep(1)
    return await world.token("keys", caller)


# --- refusals and limits ------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_session_whose_key_was_refused_gets_another_members() -> None:
    """It asks again early; and it stays there when the first is healthy again."""
    world = PoolWorld()
    assert await world.token("keys", HELPER) == A
    assert await again(world) == B
    assert world.member("a")["why"] == "upstream refused it"
    await asyncio.sleep(4000)
    assert world.member("a")["why"] is None
    assert await world.token("keys", HELPER) == B
    assert await world.token("keys", PERSON) == A, "who comes anew begins at the first"


@in_virtual_time
async def test_going_back_to_a_member_is_no_refusal() -> None:
    """What a session was given long ago tells nothing of what it is given now."""
    world = PoolWorld()
    assert [await world.token("keys", HELPER), await again(world)] == [A, B]
    world.broker.pools._pools["keys"].forgive()
    await asyncio.sleep(20)
    assert await again(world) == A, "b was refused now"
    await asyncio.sleep(20)
    world.broker.pools._pools["keys"].forgive()
    assert world.member("a")["why"] is None


@pytest.mark.parametrize("name", ["keys", "a"])
@in_virtual_time
async def test_a_reported_refusal_is_the_members_whose_token_it_was(name: str) -> None:
    """By the pool's name or by its own; a fingerprint that nobody holds changes nothing."""
    world = PoolWorld()
    await world.token("keys")
    world.broker.pools.refused(name, "0123456789ab", "reported: 401")
    assert await world.token("keys") == A
    world.broker.pools.refused(name, world.fingerprint("a"), "reported: 401")
    assert await world.token("keys") == B
    assert (world.status()["rejections"], world.status("a")["rejections"]) == (1, 1)


@in_virtual_time
async def test_a_reported_limit_rests_the_member_as_long_as_upstream_says() -> None:
    """Claude Code meets a 429 by itself; who knows of it says so by `POST /v1/rejected`."""
    world = PoolWorld()
    await world.token("keys")
    world.broker.pools.limited("keys", world.fingerprint("a"), 40.0)
    assert (world.member("a")["why"], world.member("a")["rests_s"]) == ("upstream limits its rate", 40)
    assert await world.token("keys", HELPER) == B
    await asyncio.sleep(41)
    assert await world.token("keys") == A


@in_virtual_time
async def test_a_refusal_of_a_member_that_is_asked_by_its_own_name_is_heard() -> None:
    """The key is the same."""
    world = PoolWorld()
    assert [await world.token("a", HELPER), await again_of(world, "a")] == [A, A]
    assert await world.token("keys") == B


async def again_of(world: PoolWorld, name: str) -> str:
    """Ask a second later for another credential."""
    await asyncio.sleep(1)
    return await world.token(name, HELPER)


@in_virtual_time
async def test_a_member_that_mints_anew_is_healthy_again() -> None:
    """The refusal was the old token's."""
    world = PoolWorld(scripts={"a": [Step(text="fake-token-a1"), Step(after_s=2, text="fake-token-a2")]})
    assert await world.token("keys", HELPER) == "fake-token-a1"
    assert await again(world) == B, "nobody waits for the new one"
    await asyncio.sleep(3)
    assert world.member("a")["why"] is None
    assert await world.token("keys") == "fake-token-a2"


@in_virtual_time
async def test_a_token_that_expired_is_no_fault_of_its_member() -> None:
    """A session that keeps one for longer than it lives asks again early, and gets the next of the same."""
    world = PoolWorld(scripts={"a": [Step(text=f"fake-a{n}", lifetime_s=100) for n in range(9)]})
    world.broker.apply(world.with_credential("a", timing=Timing(idle_after_s=1)))
    served = await world.broker.token("keys", 300, 9, HELPER)
    await asyncio.sleep(150)
    world.broker.pools.refused("keys", served.fingerprint, "reported: 401")
    assert (await world.token("keys", HELPER)).startswith("fake-a")
    assert world.member("a")["why"] is None


@in_virtual_time
async def test_where_refusals_are_not_inferred_a_session_still_stays() -> None:
    """`infer_rejection = false`: asking early tells nothing, and the seat is kept."""
    world = PoolWorld(strategy="round-robin")
    world.broker.apply(replace(world.config, daemon=DaemonConfig(infer_rejection=False)))
    assert [await world.token("keys", HELPER), await again(world), await again(world)] == [A] * 3
    assert await world.token("keys", PERSON) == B


@in_virtual_time
async def test_when_all_rest_there_is_still_a_token() -> None:
    """Never nothing while a valid one exists; and the status says so."""
    world = PoolWorld()
    await world.token("keys")
    await world.token("b")
    for name in ("a", "b"):
        world.broker.pools.refused("keys", world.fingerprint(name), "reported: 403")
    assert await world.token("keys") in {A, B}
    found = world.status()
    assert found["state"] == "stale"
    assert "all-resting" in [warning["code"] for warning in found["warnings"]]


@in_virtual_time
async def test_a_persons_refresh_ends_rests_and_asks_every_member() -> None:
    """`broker refresh keys`."""
    world = PoolWorld()
    await world.token("keys")
    world.broker.pools.limited("keys", world.fingerprint("a"), 4000.0)
    assert await world.broker.pools.refresh("keys") == 0.0
    assert await world.token("keys") == A
    assert world.status("b")["refreshes"] == 1


# --- members that have nothing --------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_member_whose_source_fails_is_passed_over() -> None:
    """At once from the second time on; and it serves again when it can."""
    world = PoolWorld(scripts={"a": [Step(error=TransientFetchError("no route")), replace(STATIC, text=A)]})
    assert [await world.token("keys"), await world.token("keys")] == [B, B]
    assert [warning["message"] for warning in world.status()["warnings"]] == ["a is passed over: no route"]
    assert world.status()["state"] == "fresh"
    await asyncio.sleep(20)
    assert await world.token("keys") == A


@in_virtual_time
async def test_a_member_that_needs_a_person_is_passed_over_with_a_warning() -> None:
    """The warning has the command."""
    world = PoolWorld(scripts={"a": [Step(error=LoginRequired("signed out; run: broker login corp"))]})
    assert await world.token("keys") == B
    (warning,) = world.status()["warnings"]
    assert warning["code"] == "member-needs-login"
    assert "broker login corp" in warning["message"]


@in_virtual_time
async def test_a_source_that_hangs_leaves_time_for_the_next() -> None:
    """Within the caller's deadline."""
    world = PoolWorld(scripts={"a": [Step(after_s=1000)]})
    assert await world.token("keys") == B


@pytest.mark.parametrize(
    ("steps", "raised"),
    [
        ([Step(error=PermanentFetchError("denied")), Step(error=TransientFetchError("no route"))], SourceFailed),
        ([Step(error=PermanentFetchError("denied")), Step(error=LoginRequired("signed out"))], NeedsLogin),
        ([Step(after_s=1000), Step(error=LoginRequired("signed out"))], DeadlineExceeded),
    ],
)
@in_virtual_time
async def test_when_no_member_has_any_all_reasons_are_told(steps: list[Step], raised: type[Exception]) -> None:
    """As what a person can mend, if one of them is that."""
    world = PoolWorld(scripts={"a": [steps[0]], "b": [steps[1]]})
    with pytest.raises(raised, match=r"no member has a token: a: .*; b: "):
        await world.token("keys")
    if raised is SourceFailed:
        assert world.status()["state"] == "failing"
        assert world.status()["last_error"] == "a: denied; b: no route"


# --- who is told what -----------------------------------------------------------------------------------------------


@in_virtual_time
async def test_answer_and_audit_trail_name_pool_and_member() -> None:
    """So that a report can be made by the pool's name, and a leak be traced to a key."""
    world = PoolWorld()
    served = await world.broker.token("keys", 300, 9, PERSON)
    assert (served.credential, served.member) == ("keys", "a")
    (line,) = world.audited("served")
    assert (line["credential"], line["member"], line["fingerprint"]) == ("keys", "a", world.fingerprint("a"))


@in_virtual_time
async def test_a_source_may_use_a_pools_token() -> None:
    """`{ credential = "keys" }`, also for one use."""
    world = PoolWorld(
        scripts={"a": [Step(error=PermanentFetchError("denied"))], "b": [Step(text="fake-b1"), Step(text="fake-b2")]}
    )
    assert text_of(await world.broker._lend("keys")) == "fake-b1"
    used = {text_of(await world.broker._lend_unused("keys")) for _ in range(2)}
    assert used == {"fake-b1", "fake-b2"}


@in_virtual_time
async def test_endpoints_of_clouds_serve_members_and_no_pool() -> None:
    """Their clients hold on to one identity."""
    world = PoolWorld()
    with pytest.raises(BadRequest, match="keys is a pool, which no endpoint serves; ask for one of its members: a, b"):
        await world.token("keys", Caller(PERSON.peer, wants=Kind.ACCESS_TOKEN))


# --- where a key may go ---------------------------------------------------------------------------------------------


class GuardFor:
    """A guard of a caller that sends what it gets to `goes_to`; remembers what was judged aloud."""

    def __init__(self, goes_to: str) -> None:
        self.goes_to = goes_to
        self.checked: list[tuple[str, ...]] = []

    async def passes(self, _lineage: object, _told: object, audience: tuple[str, ...], _kind: Kind) -> bool:
        return self.goes_to in (audience or ("https://api.anthropic.com",))

    async def check(self, lineage: object, told: object, audience: tuple[str, ...], kind: Kind, **_: object) -> None:
        self.checked.append(audience)
        if not await self.passes(lineage, told, audience, kind):
            raise Refused("goes elsewhere")


def guarded(goes_to: str, **audiences: str) -> tuple[PoolWorld, GuardFor]:
    """Make a world whose credentials have these audiences."""
    world, guard = PoolWorld(), GuardFor(goes_to)
    for name, url in audiences.items():
        world.config = world.with_credential(name, audience=(url,))
    world.broker.apply(world.config)
    world.broker.admission._guard = cast("Guard", guard)
    return world, guard


@pytest.mark.parametrize(
    ("audiences", "expected"),
    [
        ({}, None),
        ({"keys": "https://llm.example"}, A),
        ({"a": "https://other.example", "b": "https://llm.example"}, B),
        ({"keys": "https://llm.example", "a": "https://other.example"}, B),
        ({"keys": "https://other.example", "a": "https://llm.example"}, None),
        ({"keys": "https://llm.example", "a": "https://o.example", "b": "https://o.example"}, None),
    ],
)
@in_virtual_time
async def test_no_key_goes_where_its_own_credential_may_not(audiences: dict[str, Any], expected: str | None) -> None:
    """The pool's audience and the member's both hold; who names none goes where the pool may."""
    world, guard = guarded("https://llm.example", **audiences)
    if expected is None:
        with pytest.raises(Refused, match="goes elsewhere"):
            await world.token("keys")
    else:
        assert await world.token("keys") == expected
        assert guard.checked == ([("https://llm.example",)] if "keys" in audiences else [])


# --- a new config ---------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_new_config_keeps_rests_and_seats() -> None:
    """And a member that is taken out serves nobody from then on."""
    world = PoolWorld("a", "b", "c")
    assert [await world.token("keys", HELPER), await again(world)] == [A, B]
    world.with_pool("c", "a", "b")
    assert await world.token("keys", PERSON) == "fake-token-c"
    world.with_pool("a", "c")
    assert await world.token("keys", HELPER) == "fake-token-c"


@in_virtual_time
async def test_a_config_that_takes_a_member_out_while_it_is_asked_harms_nobody() -> None:
    """Who waits for its token gets it; also where the next one is no credential any more."""
    world = PoolWorld("a", "b", "c", scripts={"a": [Step(after_s=2, text=A)], "b": [Step(text=B)]})
    waiting = asyncio.create_task(world.token("keys"))
    await asyncio.sleep(1)
    world.with_pool("b", "c")
    assert await waiting == A
    world = PoolWorld("a", "b", scripts={"a": [Step(after_s=1, error=TransientFetchError("no route"))]})
    waiting = asyncio.create_task(world.token("keys"))
    await asyncio.sleep(0.5)
    world.config = replace(world.config, credentials={n: c for n, c in world.config.credentials.items() if n != "b"})
    world.with_pool("a")
    assert await waiting == B


@in_virtual_time
async def test_a_locked_pool_gives_nothing() -> None:
    """Like any credential; and its status says so."""
    world = PoolWorld()
    await world.token("keys")
    await world.broker.safe.lock("test")
    assert world.status()["state"] == "locked"
    assert world.status()["fingerprint"] is None
