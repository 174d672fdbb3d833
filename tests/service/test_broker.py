"""Many credentials under one config, and what a reload leaves alone."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, cast

import pytest

from broker.config import DaemonConfig, SourceConfig
from broker.engine.policy import Told
from broker.errors import (
    BadRequest,
    FetchError,
    LoginRequired,
    PermanentFetchError,
    TransientFetchError,
    UnknownCredential,
)
from broker.model import Timing
from broker.service.guard import Guard
from broker.sources.interface import NoSettings, SourceType
from tests.service.scripted import Step
from tests.service.virtual_time import in_virtual_time
from tests.service.world import HELPER, PERSON, Settings, World


@in_virtual_time
async def test_no_name_means_the_default() -> None:
    """And the answer says which credential that was, how long it lives, and its fingerprint."""
    world = World()
    served = await world.broker.token(None, 300, 9, PERSON)
    assert (served.credential, served.expires_in_s) == ("work", 3599)
    assert served.fingerprint == world.broker.keeper("work").fingerprint(served.held)


@in_virtual_time
async def test_a_static_key_has_no_end() -> None:
    """`expires_in_s` is None for it."""
    world = World(Step(lifetime_s=None))
    assert (await world.broker.token("work", 300, 9, PERSON)).expires_in_s is None


@in_virtual_time
async def test_without_a_default_a_name_is_needed() -> None:
    """The error lists the names, and says where a default would stand."""
    world = World(default=None)
    with pytest.raises(BadRequest, match=r"The config has play, work; name one, or set default in /config\.toml"):
        await world.token()


@pytest.mark.parametrize(
    ("wanted", "hint"),
    [("wrok", "did you mean work?"), ("vault", r"add \[credentials.vault\]"), ("../x y", "'; see: broker status$")],
)
@in_virtual_time
async def test_an_unknown_name_is_answered_with_what_mends_it(wanted: str, hint: str) -> None:
    """A near miss names the right one; a table is proposed only where the name can be one."""
    with pytest.raises(UnknownCredential, match=hint):
        await World().token(wanted)


@in_virtual_time
async def test_a_reload_keeps_the_tokens_of_unchanged_credentials() -> None:
    """Only what changed is fetched anew; sources in use are not opened again."""
    world = World()
    assert [await world.token("work"), await world.token("play")] == ["fake-token-1"] * 2
    world.script = (Step(text="fake-token-new"),)
    world.broker.apply(world.with_credential("play", settings=Settings("y")))
    assert await world.token("work") == "fake-token-1"
    assert await world.token("play") == "fake-token-new"
    assert len(world.sources) == 1
    assert [name for _, name in world.broker.credentials()] == ["corp", "corp"]


@pytest.mark.parametrize(
    "change",
    [{"audience": ("https://llm.example",)}, {"timing": Timing(min_validity_s=5)}, {"timing": Timing(ttl_max_s=100)}],
)
@in_virtual_time
async def test_a_reload_that_concerns_no_fetch_keeps_the_token(change: dict[str, Any]) -> None:
    """Also where it is kept nowhere else; and what was counted, and who waits for a fetch."""
    world = World(Step(borrowed=True, text="fake-token-1"), Step(after_s=2.0, text="fake-token-2"))
    assert await world.token("work") == "fake-token-1"
    keeper = world.broker.keeper("work")
    await asyncio.sleep(20)
    fetching = asyncio.create_task(keeper.refresh())
    await asyncio.sleep(1)
    world.broker.apply(world.with_credential("work", **change))
    assert await world.token("work") == "fake-token-1"
    await fetching
    assert await world.token("work") == "fake-token-2"
    assert (world.fetchers[0].calls, len(world.fetchers)) == (2, 2)
    assert world.broker.keeper("work").life.counters.served == 3
    assert [source.closed for source in world.sources] == [False]


@in_virtual_time
async def test_changed_durations_hold_at_once() -> None:
    """A key that is to be looked up every minute from now on is, though nobody asks meanwhile."""
    world = World(Step(lifetime_s=None), Step(lifetime_s=None, text="fake-token-2"), names=("work",))
    await world.token("work")
    world.broker.apply(world.with_credential("work", timing=Timing(max_age_s=60)))
    await asyncio.sleep(61)
    assert world.fetchers[0].calls == 2


@in_virtual_time
async def test_a_changed_audience_holds_at_once() -> None:
    """For the token in hand too."""
    world = World(names=("work",))
    judged: list[tuple[str, ...]] = []

    class Recorder:
        async def check(
            self, _lineage: object, _told: object, audience: tuple[str, ...], *_: object, **__: object
        ) -> None:
            judged.append(audience)

    world.broker.admission._guard = cast("Guard", Recorder())
    await world.token("work")
    world.broker.apply(world.with_credential("work", audience=("https://llm.example",)))
    await world.token("work")
    assert judged == [(), ("https://llm.example",)]


@in_virtual_time
async def test_a_reload_keeps_a_fetch_under_way() -> None:
    """Who waits for an unchanged credential gets the token that is being fetched, by the same fetch."""
    world = World(Step(after_s=2.0, text="fake-token-1"))
    waiting = asyncio.create_task(world.token("work"))
    await asyncio.sleep(1)
    world.broker.apply(replace(world.config, default="play"))
    late = asyncio.create_task(world.token("work"))
    assert [await waiting, await late] == ["fake-token-1"] * 2
    assert world.fetchers[0].calls == 1


@in_virtual_time
async def test_a_source_that_is_no_longer_used_is_closed_after_its_last_answer() -> None:
    """Who still waits for the old credential is answered first."""
    world = World(Step(after_s=2.0, text="fake-token-1"), names=("work",))
    waiting = asyncio.create_task(world.token("work"))
    await asyncio.sleep(1)
    other = SourceConfig("corp", SourceType("other", NoSettings, Settings, world._open), NoSettings())
    world.broker.apply(replace(world.config, sources={"corp": other}))
    await asyncio.sleep(0.5)
    assert [source.closed for source in world.sources] == [False, False]
    assert await waiting == "fake-token-1"
    await asyncio.sleep(0.1)
    assert [source.closed for source in world.sources] == [True, False]


@in_virtual_time
async def test_every_reload_of_a_quick_series_closes_what_it_left() -> None:
    """However fast they follow each other, and though a fetch of the first config still hangs."""
    world = World(Step(after_s=1e6), names=("work",))
    waiting = asyncio.gather(world.token("work"), return_exceptions=True)
    await asyncio.sleep(1)
    for name in ("second", "third"):
        other = SourceConfig("corp", SourceType(name, NoSettings, Settings, world._open), NoSettings())
        world.broker.apply(replace(world.config, sources={"corp": other}))
    await asyncio.sleep(1)
    assert [source.closed for source in world.sources] == [False, True, False]
    await world.broker.close()
    assert [source.closed for source in world.sources] == [True, True, True]
    assert [type(answer).__name__ for answer in await waiting] == ["SourceFailed"]
    assert asyncio.get_running_loop().time() < 3


@in_virtual_time
async def test_a_dropped_credential_is_unknown_and_refreshed_no_more() -> None:
    """What the config does not name any longer costs nothing."""
    world = World()
    await world.token("play")
    world.broker.apply(replace(world.config, credentials={"work": world.config.credentials["work"]}))
    with pytest.raises(UnknownCredential):
        await world.token("play")
    await asyncio.sleep(8 * 3600)
    assert sum(fetcher.calls for fetcher in world.fetchers) == 1


@in_virtual_time
async def test_closing_ends_every_fetch_and_closes_every_source() -> None:
    """Also when saying farewell fails."""
    world = World(Step(after_s=1e6))
    waiting = asyncio.gather(world.token("work"), world.token("play"), return_exceptions=True)
    await asyncio.sleep(1)
    await world.broker.close()
    assert [type(answer).__name__ for answer in await waiting] == ["SourceFailed"] * 2
    assert world.sources[0].closed


@in_virtual_time
async def test_a_source_that_hangs_at_its_farewell_does_not_keep_the_daemon() -> None:
    """Two seconds are enough to give something back."""
    world = World()
    await world.token("work")
    world.sources[0].farewell_s = 1e6
    before = world.clock.now().mono
    await world.broker.close()
    assert world.clock.now().mono - before <= 2.1


@in_virtual_time
async def test_the_helper_of_a_session_that_asks_early_reports_a_refusal() -> None:
    """Claude Code's own helper is recognised by its ancestry."""
    world = World()
    assert await world.token("work", HELPER) == "fake-token-1"
    await asyncio.sleep(1)
    assert await world.token("work", HELPER) == "fake-token-2"


@pytest.mark.parametrize(
    "reason", ["a tool, by its own word", "a tool, by its environment", "a stranger", "the config"]
)
@in_virtual_time
async def test_other_callers_report_nothing_by_asking(reason: str) -> None:
    """Tools and hooks, callers from elsewhere, and everybody where the config says so."""
    world = World()
    caller = HELPER
    if reason == "a tool, by its own word":
        caller = replace(HELPER, told=Told("/", (("CLAUDECODE", "1"),)))
    elif reason == "a tool, by its environment":
        world.platform.environ[30] = "CLAUDECODE"
    elif reason == "a stranger":
        caller = PERSON
    else:
        world.broker.apply(replace(world.config, daemon=DaemonConfig(infer_rejection=False)))
    for _ in range(5):
        assert await world.token("work", caller) == "fake-token-1"
        await asyncio.sleep(1)


@in_virtual_time
async def test_a_source_is_lent_the_token_of_another_credential() -> None:
    """As fresh as any caller gets it, and fetched once for both."""
    world = World()
    lent = await world.context.token("work")
    assert (lent.reveal(), await world.token("work")) == ("fake-token-1", "fake-token-1")
    assert world.fetchers[0].calls == 1


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (LoginRequired("sign in by: broker login corp"), LoginRequired),
        (PermanentFetchError("denied"), TransientFetchError),
        (TransientFetchError("no network"), TransientFetchError),
    ],
)
@in_virtual_time
async def test_a_token_that_cannot_be_lent_is_an_error_of_a_source(
    error: FetchError, expected: type[FetchError]
) -> None:
    """It names the credential, and says whether a person has to sign in; the rest may be mended meanwhile."""
    world = World(Step(error=error))
    with pytest.raises(expected, match=f"^credential work: {error}"):
        await world.context.token("work")


@in_virtual_time
async def test_a_credential_that_is_gone_is_not_lent() -> None:
    """A source of an earlier config may still ask."""
    with pytest.raises(TransientFetchError, match="no credential 'other'"):
        await World().context.token("other")
