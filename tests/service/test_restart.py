"""What a daemon takes up of the one before it: tokens from the store, and none that should not come back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from broker import clock
from broker.clock import boot_id
from broker.config import CredentialConfig, SourceConfig
from broker.errors import TransientFetchError
from broker.model import Issued, Kind, Timing
from broker.secret import Secret
from broker.service import report
from broker.service.cache import TokenCache, settings_digest
from broker.sources import TYPES
from broker.storage.interface import TOKENS
from tests.engine.simulation import Simulation
from tests.fakes.store import FakeStore
from tests.service.scripted import Step, text_of
from tests.service.virtual_time import in_virtual_time
from tests.service.world import PERSON, Settings, World

WORK = TOKENS + "work"


async def started(before: World, *script: Step, **changes: Any) -> World:  # noqa: ANN401  # World's own
    """Start another daemon on the store of one that was killed."""
    world = World(*script, **{"store": before.store, "clock": before.clock, **changes})
    world.broker.start()
    await asyncio.sleep(0.001)
    return world


def asked(world: World) -> int:
    """Count how often the sources were asked."""
    return sum(fetcher.calls for fetcher in world.fetchers)


@in_virtual_time
async def test_the_next_daemon_serves_the_token_of_the_last_without_asking_the_source() -> None:
    """With its true age, and under the same fingerprint."""
    first = World()
    before = await first.broker.token("work", 300, 9, PERSON)
    await asyncio.sleep(600)
    second = await started(first)
    served = await second.broker.token("work", 300, 9, PERSON)
    assert text_of(served.held.issued) == "fake-token-1"
    assert served.fingerprint == before.fingerprint
    assert served.expires_in_s == pytest.approx(3000, abs=1)
    assert asked(second) == 0


@in_virtual_time
async def test_the_first_ask_waits_for_the_store_rather_than_ask_the_source() -> None:
    """A keyring takes its time; the wait is bounded, since it may take for ever."""
    first = World()
    await first.token("work")
    second = World(store=first.store, clock=first.clock)
    second.store.opens_in_s = 1.0
    second.broker.start()
    assert await second.token("work") == "fake-token-1"
    assert asked(second) == 0
    third = World(Step(text="fake-token-new"), store=FakeStore(opens_in_s=1e6), clock=first.clock)
    third.broker.start()
    began = asyncio.get_running_loop().time()
    assert await third.token("work") == "fake-token-new"
    assert asyncio.get_running_loop().time() - began == pytest.approx(2.0, abs=0.1)
    await third.broker.close()


@in_virtual_time
async def test_a_token_fetched_before_the_store_could_be_read_is_kept_all_the_same() -> None:
    """And the older one of the store does not take its place."""
    first = World()
    await first.token("work")
    second = World(Step(text="fake-token-new"), store=first.store, clock=first.clock)
    second.store.opens_in_s = 5.0
    second.broker.start()
    assert await second.token("work") == "fake-token-new"
    await asyncio.sleep(5)
    assert await second.token("work") == "fake-token-new"
    third = await started(second)
    assert await third.token("work") == "fake-token-new"


@in_virtual_time
async def test_a_key_that_was_refused_before_the_store_could_be_read_is_forgotten_there() -> None:
    """The store's is an older copy of the same: the next daemon shall not bring it back."""
    key = Step(text="fake-token-1", lifetime_s=None)
    first = World(key, names=("work",))
    await first.token("work")
    second = World(key, Step(after_s=1e6), names=("work",), store=first.store, clock=first.clock)
    second.store.opens_in_s = 5.0
    second.broker.start()
    served = await second.broker.token("work", 300, 9, PERSON)
    second.broker.keeper("work").rejected(served.fingerprint, "reported: 401")
    await asyncio.sleep(5)
    assert WORK not in second.store.records
    await second.broker.close()


@in_virtual_time
async def test_a_static_key_is_served_at_once_and_replaced_behind_the_first_ask() -> None:
    """It may have been changed while nobody looked."""
    first = World(Step(text="fake-token-old", lifetime_s=None))
    await first.token("work")
    second = await started(first, Step(after_s=1.0, text="fake-token-new", lifetime_s=None))
    assert await second.token("work") == "fake-token-old"
    await asyncio.sleep(2)
    assert await second.token("work") == "fake-token-new"


@in_virtual_time
async def test_a_refused_token_leaves_the_store_before_its_replacement_is_there() -> None:
    """Killed at that moment, the next daemon does not know it any more."""
    first = World(Step(text="fake-token-1"), Step(after_s=1e6))
    served = await first.broker.token("work", 300, 9, PERSON)
    assert first.broker.keeper("work").rejected(served.fingerprint, "reported: 401")
    assert WORK not in first.store.records
    second = await started(first, Step(text="fake-token-2"))
    assert await second.token("work") == "fake-token-2"
    await first.broker.close()


@in_virtual_time
async def test_a_refused_token_that_the_source_gives_again_is_not_kept() -> None:
    """It is served for want of a better one, but no restart makes it look good again."""
    same = Step(text="fake-token-1", lifetime_s=None)
    world = World(same, same)
    served = await world.broker.token("work", 300, 9, PERSON)
    world.broker.keeper("work").rejected(served.fingerprint, "reported: 401")
    assert await world.token("work") == "fake-token-1"
    assert world.fetchers[0].calls == 2
    assert WORK not in world.store.records


@in_virtual_time
async def test_a_dead_token_leaves_the_store() -> None:
    """A clock set back before the next boot could make it look alive."""
    world = World(Step(lifetime_s=100), Step(error=TransientFetchError("down")), names=("work",))
    world.broker.apply(world.with_credential("work", timing=Timing(idle_after_s=10)))
    await world.token("work")
    assert WORK in world.store.records
    await asyncio.sleep(200)
    await asyncio.gather(world.token("work"), return_exceptions=True)
    assert WORK not in world.store.records


@in_virtual_time
async def test_a_shorter_end_of_the_same_token_is_kept_too() -> None:
    """The source says that it dies sooner: so it does after a restart."""
    first = World(Step(text="fake-token-1", lifetime_s=3600), Step(text="fake-token-1", lifetime_s=600))
    await first.token("work")
    await asyncio.sleep(11)
    await first.broker.keeper("work").refresh()
    second = await started(first)
    served = await second.broker.token("work", 0, 9, PERSON)
    assert served.expires_in_s == pytest.approx(600, abs=1)


@pytest.mark.parametrize("change", ["the credential's settings", "the source's settings", "the source's type"])
@in_virtual_time
async def test_another_config_revives_no_token_of_the_old(change: str) -> None:
    """What other settings fetched is not this credential's token, and is forgotten."""
    first = World()
    await first.token("work")
    second = World(Step(text="fake-token-new"), store=first.store, clock=first.clock)
    config = second.config
    if change == "the credential's settings":
        config = second.with_credential("work", settings=Settings("other"))
    else:
        type_ = replace(second.type, name="other") if "type" in change else second.type
        settings = Settings("other") if "settings" in change else config.sources["corp"].settings
        config = replace(config, sources={"corp": SourceConfig("corp", type_, settings)})
    second.broker.apply(config)
    second.broker.start()
    assert await second.token("work") == "fake-token-new"
    assert "fake-token-1" not in second.store.records[WORK].reveal()


@in_virtual_time
async def test_what_decides_nothing_about_the_token_revives_it() -> None:
    """A changed timing or audience is no reason to ask the source, after a reload or a restart."""
    world = World()
    await world.token("work")
    world.script = (Step(text="fake-token-new"),)
    world.broker.apply(world.with_credential("work", timing=Timing(min_validity_s=5)))
    assert await world.token("work") == "fake-token-1"


@in_virtual_time
async def test_a_credential_that_is_gone_from_the_config_is_gone_from_the_store() -> None:
    """After a reload, and after a start."""
    world = World()
    await world.token("work")
    await world.token("play")
    world.broker.apply(replace(world.config, credentials={"work": world.config.credentials["work"]}))
    assert world.store.names(TOKENS) == [WORK]
    await started(world, names=("other",))
    assert world.store.names(TOKENS) == []


@in_virtual_time
async def test_what_the_source_gives_back_at_its_end_is_not_kept() -> None:
    """A revoked lease must not be served by the next daemon; nor is the token that it replaced."""
    first = World(Step(), Step(borrowed=True))
    await first.token()
    assert WORK in first.store.records
    await asyncio.sleep(60)
    await first.broker.keeper("work").refresh()
    assert WORK not in first.store.records


@in_virtual_time
async def test_a_source_that_holds_its_secret_on_this_machine_is_not_cached() -> None:
    """The secret lies there already: a copy would only be one more to lose."""
    world = World()
    world.type = replace(world.type, cacheable=False)
    world.broker.apply(
        replace(world.config, sources={"corp": SourceConfig("corp", world.type, world.config.sources["corp"].settings)})
    )
    await world.token("work")
    assert world.store.names(TOKENS) == []


@in_virtual_time
async def test_counters_and_status_of_a_restored_token() -> None:
    """Nothing was fetched in this run, and that shows; when it came shows too."""
    first = World()
    await first.token("work")
    await asyncio.sleep(10)
    second = await started(first)
    found = report.credential(second.broker.keeper("work"), "corp", second.clock)
    assert (found["state"], found["refreshes"], found["next_refresh_at"]) == ("fresh", 0, None)
    assert found["last_refresh_at"] == report.timestamp(first.clock.now().wall - 10)


@in_virtual_time
async def test_in_another_boot_the_time_of_day_decides() -> None:
    """The steady clock has begun anew there; a time of day before the receipt proves the token's life no more."""
    first = World()
    await first.token("work")
    later = await started(first, boot="boot-2")
    assert await later.token("work") == "fake-token-1"
    first.clock.set(-10)
    earlier = await started(first, Step(text="fake-token-new"), boot="boot-3")
    assert await earlier.token("work") == "fake-token-new"


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda _record: "no JSON", id="no-json"),
        pytest.param(lambda _record: "[]", id="a-list"),
        pytest.param(lambda _record: "{}", id="empty"),
        pytest.param(lambda record: json.dumps(record | {"version": 2}), id="of-a-later-version"),
        pytest.param(lambda record: json.dumps(record | {"kind": "later"}), id="of-a-later-kind"),
        pytest.param(lambda record: json.dumps(record | {"parts": ["fake-token-1"]}), id="no-parts"),
        pytest.param(lambda record: json.dumps(record | {"lifetime_s": "long"}), id="no-number"),
        pytest.param(lambda record: json.dumps(record | {"expires_at": True}), id="a-truth"),
        pytest.param(lambda record: json.dumps(record | {"received": [float("nan"), 0]}), id="nan"),
        pytest.param(lambda record: json.dumps(record | {"received": [1]}), id="one-clock"),
    ],
)
@in_virtual_time
async def test_a_record_that_cannot_be_understood_costs_one_fetch(spoil: Callable[[dict[str, Any]], str]) -> None:
    """Of another version, or spoilt: it is forgotten, and the source is asked."""
    first = World()
    await first.token("work")
    first.store.records[WORK] = Secret(spoil(json.loads(first.store.records[WORK].reveal())))
    second = await started(first, Step(text="fake-token-new"))
    assert WORK not in second.store.records
    assert await second.token("work") == "fake-token-new"


def test_every_part_of_a_credential_comes_back() -> None:
    """An AWS session's three, what may be shown of it, and a lifetime without end."""
    parts = {name: Secret(f"fake-{name}") for name in ("access_key_id", "secret_access_key", "session_token")}
    sim = Simulation()
    sim.ask()
    sim.life.fetched(sim.now, Issued(parts, None, Kind.AWS_SESSION, {"account_id": "123456789012"}))
    assert sim.life.held is not None
    store = FakeStore()
    TokenCache(store, "work", "digest", "boot").keep(sim.life.held)
    receipt = TokenCache(store, "work", "digest", "boot").receipt()
    assert receipt == sim.receipt()
    assert receipt.issued.details == {"account_id": "123456789012"}


def test_settings_have_one_digest_in_every_process() -> None:
    """However a set orders its members, and however deep the settings are."""

    @dataclass(frozen=True)
    class Deep:
        inner: Settings
        names: frozenset[int]

    def digest(settings: object) -> str:
        source = SourceConfig("corp", TYPES["demo"], settings)
        return settings_digest(source, CredentialConfig("work", "corp", settings, Timing(), ()))

    one, other = frozenset([0, 8]), frozenset([8, 0])
    assert list(one) != list(other), "this Python keeps them in one order: the test needs another example"
    assert digest(Deep(Settings("x"), one)) == digest(Deep(Settings("x"), other))
    assert digest(Deep(Settings("x"), one)) != digest(Deep(Settings("y"), one))


def test_this_boot_has_a_name_that_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two processes of one boot agree on it; where there is none, no two agree."""
    assert boot_id() == boot_id()
    monkeypatch.setattr(clock, "_BOOT_ID", tmp_path / "none")
    assert boot_id() != boot_id()
