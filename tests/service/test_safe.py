"""What `broker lock` takes away, what `broker unlock` gives back, and when the broker locks by itself."""

from __future__ import annotations

import asyncio
import gc
import weakref
from dataclasses import replace

import pytest

from broker.config import DaemonConfig
from broker.errors import BadRequest, Locked, StorageError, TransientFetchError
from broker.model import Timing
from broker.secret import Secret
from broker.service import report
from broker.service.events import Who
from broker.service.secrets import LentSecrets
from broker.storage.interface import SECRETS
from tests.fakes.store import PASSPHRASE, FakeStore
from tests.service.scripted import Step
from tests.service.virtual_time import in_virtual_time
from tests.service.world import PERSON, Settings, World

HOUR_S = 3600.0


async def settle() -> None:
    """Let everything that is due now happen."""
    await asyncio.sleep(0.001)


def states(world: World) -> list[str]:
    """Return what `status` calls each credential's condition."""
    return [report.credential(keeper, source, world.clock)["state"] for keeper, source in world.broker.credentials()]


# --- lock -------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_locked_it_hands_out_nothing_and_says_how_to_unlock() -> None:
    """At once, for every credential, and whatever a person forces."""
    world = World()
    await world.token("work")
    await world.broker.safe.lock("a test")
    for name in ("work", "play"):
        with pytest.raises(Locked, match="run: broker unlock"):
            await world.token(name)
        with pytest.raises(Locked):
            await world.broker.keeper(name).refresh()
    assert states(world) == ["locked", "locked"]
    assert world.store.locked


@in_virtual_time
async def test_locking_drops_every_token_from_memory() -> None:
    """Nothing of ours refers to a token any longer, nor to a source that may know more."""
    world = World()
    held = (await world.broker.token("work", 300, 9, PERSON)).held
    parts, source = held.issued.parts, weakref.ref(world.sources[0])
    await world.broker.safe.lock("a test")
    del held
    world.sources.clear()
    world.fetchers.clear()
    gc.collect()
    assert [one for one in gc.get_referrers(parts) if type(one).__name__ == "Issued"] == []
    assert source() is None


@in_virtual_time
async def test_a_fetch_under_way_is_called_off_and_what_it_brings_thrown_away() -> None:
    """Whoever waits for it is told, even when the source does not listen."""
    world = World(Step(after_s=5.0, text="fake-token-1"), names=("work",))
    waiting = asyncio.create_task(world.token("work"))
    await asyncio.sleep(1)
    await world.broker.safe.lock("a test")
    with pytest.raises(Locked):
        await waiting
    await asyncio.sleep(10)
    assert world.broker.keeper("work").life.held is None
    assert world.broker.keeper("work").life.counters.failures == 0
    assert world.fetchers[0].cancelled == 1


@in_virtual_time
async def test_nothing_is_fetched_ahead_while_locked() -> None:
    """Time passes, inputs change, and no source is asked."""
    world = World(names=("work",))
    await world.token("work")
    await world.broker.safe.lock("a test")
    world.broker.keeper("work").inputs_changed()
    await asyncio.sleep(2 * HOUR_S)
    assert sum(fetcher.calls for fetcher in world.fetchers) == 1


@in_virtual_time
async def test_unlocking_brings_back_what_was_kept_without_asking_the_source() -> None:
    """The token of before, and its source set up anew."""
    world = World()
    assert await world.token("work") == "fake-token-1"
    await world.broker.safe.lock("a test")
    await world.broker.safe.unlock()
    assert await world.token("work") == "fake-token-1"
    assert sum(fetcher.calls for fetcher in world.fetchers) == 1
    assert [source.closed for source in world.sources] == [True, False]


@in_virtual_time
async def test_where_nothing_is_kept_unlocking_lets_the_source_be_asked() -> None:
    """`persist = "off"`: memory is dropped all the same, and what was fetched is fetched again."""
    world = World(store=FakeStore(persist="off"), names=("work",))
    await world.token("work")
    await world.broker.safe.lock("a test")
    with pytest.raises(Locked):
        await world.token("work")
    await world.broker.safe.unlock()
    await world.token("work")
    assert sum(fetcher.calls for fetcher in world.fetchers) == 2


@in_virtual_time
async def test_who_leaves_while_it_locks_does_not_leave_it_half_locked() -> None:
    """The client goes away in the middle; the store is locked all the same."""
    world = World(names=("work",))
    await world.token("work")
    world.sources[0].farewell_s = 1.0
    locking = asyncio.create_task(world.broker.safe.lock("a test"))
    await settle()
    locking.cancel()
    await asyncio.sleep(2)
    assert world.store.locked
    assert [source.closed for source in world.sources] == [True, False]


@in_virtual_time
async def test_a_reload_while_locked_stays_locked() -> None:
    """New credentials too."""
    world = World()
    await world.broker.safe.lock("a test")
    world.broker.apply(world.with_credential("work", timing=Timing(min_validity_s=1)))
    assert states(world) == ["locked", "locked"]
    with pytest.raises(Locked):
        await world.token("work")
    await world.broker.safe.unlock()
    assert await world.token("work") == "fake-token-1"


@in_virtual_time
async def test_locking_and_unlocking_is_told_once() -> None:
    """Twice locked is locked once."""
    world = World()
    with world.broker.bus.listen() as heard:
        for _ in range(2):
            await world.broker.safe.lock("a test")
        for _ in range(2):
            await world.broker.safe.unlock()
        told = [heard.get_nowait() for _ in range(heard.qsize())]
    assert [(event and event.name, event and event.credential) for event in told] == [
        ("locked", None),
        ("unlocked", None),
    ]
    assert told[0] is not None
    assert told[0].reason == "a test"


# --- passphrases and keyrings -----------------------------------------------------------------------------------


@in_virtual_time
async def test_a_passphrase_that_nobody_gave_yet_keeps_it_locked() -> None:
    """From the start on; a wrong one changes nothing, the right one brings everything back."""
    before = World()
    await before.token("work")
    store = FakeStore(persist="passphrase", locked=True, records=before.store.records)
    world = World(store=store, clock=before.clock)
    world.broker.start()
    with pytest.raises(Locked):
        await world.token("work")
    for wrong in (None, Secret("fake-wrong")):
        with pytest.raises(Locked):
            await world.broker.safe.unlock(wrong)
        assert states(world) == ["locked", "locked"]
    await world.broker.safe.unlock(Secret(PASSPHRASE))
    assert await world.token("work") == "fake-token-1"
    assert sum(fetcher.calls for fetcher in world.fetchers) == 0


@in_virtual_time
async def test_who_leaves_before_a_wrong_passphrase_is_found_wrong_leaves_no_traceback() -> None:
    """Trying one takes half a second: a client that hangs up meanwhile is no bug for the log."""
    world = World(store=FakeStore(persist="passphrase", locked=True, unlocks_in_s=0.5))
    world.broker.start()
    bugs: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: bugs.append(context))
    trying = asyncio.create_task(world.broker.safe.unlock(Secret("fake-wrong")))
    await settle()
    trying.cancel()
    await asyncio.sleep(1)
    del trying  # its traceback holds on to what failed
    gc.collect()
    assert bugs == []
    assert states(world) == ["locked", "locked"]


@in_virtual_time
async def test_wrong_passphrases_do_not_queue() -> None:
    """One is tried; whoever comes with another meanwhile is told at once, and may try after it."""
    world = World(store=FakeStore(persist="passphrase", locked=True, unlocks_in_s=0.5))
    world.broker.start()
    await settle()
    began = world.clock.now().mono
    tries = [asyncio.create_task(world.broker.safe.unlock(Secret(f"fake-wrong-{at}"))) for at in range(30)]
    done, _ = await asyncio.wait(tries[1:])
    assert world.clock.now().mono - began < 0.1
    assert {str(task.exception()) for task in done} == {
        "another unlock is being tried; try again in a moment: broker unlock"
    }
    with pytest.raises(Locked, match="not the passphrase"):
        await tries[0]
    assert world.store.unlocks == 1
    await world.broker.safe.unlock(Secret(PASSPHRASE))
    assert not world.broker.safe.locked


@in_virtual_time
async def test_who_unlocks_with_the_same_passphrase_shares_the_try() -> None:
    """Also when the one who came first has left."""
    world = World(store=FakeStore(persist="passphrase", locked=True, unlocks_in_s=0.5))
    world.broker.start()
    tries = [asyncio.create_task(world.broker.safe.unlock(Secret(PASSPHRASE))) for _ in range(3)]
    await settle()
    tries[0].cancel()
    await asyncio.gather(*tries[1:])
    assert (world.store.unlocks, world.broker.safe.locked) == (1, False)


@pytest.mark.slow
@in_virtual_time
@pytest.mark.parametrize("from_the_start", [True, False])
async def test_a_lock_waits_for_no_unlock_and_calls_it_off(from_the_start: bool) -> None:  # noqa: FBT001  # a case
    """Locked before or not: whoever locks last has it locked, and can unlock again at once."""
    store = FakeStore(persist="passphrase", locked=from_the_start, chosen=from_the_start, unlocks_in_s=30)
    world = World(store=store)
    world.broker.start()
    await settle()
    for wait_s in (0.0, 1.0):
        unlocking = asyncio.create_task(world.broker.safe.unlock(Secret(PASSPHRASE)))
        await asyncio.sleep(wait_s)
        began = world.clock.now().mono
        await world.broker.safe.lock("a test")
        assert world.clock.now().mono - began < 0.1
        with pytest.raises(Locked):
            await unlocking
        assert (store.locked, world.broker.safe.locked) == (True, True)
    calling_off = asyncio.create_task(world.broker.safe.unlock(Secret("fake-wrong")))
    await settle()
    await world.broker.safe.lock("a test")
    await world.broker.safe.unlock(Secret(PASSPHRASE))
    assert (store.locked, world.broker.safe.locked) == (False, False)
    await asyncio.wait({calling_off})


@in_virtual_time
async def test_a_keyring_that_is_away_does_not_stop_the_sources() -> None:
    """Tokens come from there; when the keyring is back it is noticed without a word, in a few minutes of use."""
    before = World(names=("work", "play"))
    await before.token("play")
    world = World(store=FakeStore(locked=True, records=before.store.records), clock=before.clock)
    world.broker.start()
    assert await world.token("work") == "fake-token-1"
    assert not world.broker.safe.locked
    assert world.store.unlocks == 0
    await asyncio.sleep(301)
    await world.token("work")
    await settle()
    assert (world.store.unlocks, world.store.locked) == (1, False)
    assert await world.token("play") == "fake-token-1"
    assert [fetcher.calls for fetcher in world.fetchers] == [1, 0]
    assert "token/work" in world.store.records, "what was fetched meanwhile is kept now"


@in_virtual_time
async def test_a_keyring_that_stays_away_is_asked_seldom() -> None:
    """It may ask a person each time."""
    store = FakeStore(locked=True, away=True)
    world = World(store=store, names=("work",))
    world.broker.start()
    for _ in range(100):
        await world.token("work")
        await asyncio.sleep(10)
    assert 3 <= store.unlocks <= 4
    with pytest.raises(Locked):
        await world.broker.safe.unlock()


@in_virtual_time
async def test_a_person_who_wants_a_token_now_need_not_wait_for_that() -> None:
    """`broker refresh` looks at the keyring first: it may just have been unlocked; it opens nothing that is locked."""
    store = FakeStore(locked=True, away=True)
    world = World(store=store, names=("work",))
    await world.broker.safe.retry()
    assert (store.unlocks, store.locked) == (1, True)
    store.away = False
    await world.broker.safe.retry()
    assert (store.unlocks, store.locked) == (2, False)
    await world.broker.safe.lock("a test")
    await world.broker.safe.retry()
    assert (store.unlocks, world.broker.safe.locked) == (2, True)


@in_virtual_time
async def test_a_new_passphrase_can_be_chosen_and_its_lack_is_said() -> None:
    """Nothing is stored until then, and nothing is locked either."""
    store = FakeStore(persist="passphrase", chosen=False)
    world = World(store=store, names=("work",))
    world.broker.start()
    await world.token("work")
    assert [code for code, _ in world.broker.safe.warnings] == ["passphrase-wanted"]
    await world.broker.safe.unlock(Secret(PASSPHRASE))
    assert world.broker.safe.warnings == []
    assert "token/work" in store.records


@in_virtual_time
async def test_a_passphrase_goes_to_a_store_that_asked_for_none() -> None:
    """Where its key has no home yet it makes one; an unlock without any does not disturb the store."""
    store = FakeStore(persist="off")
    world = World(store=store, names=("work",))
    await world.broker.safe.unlock()
    assert store.unlocks == 0
    await world.broker.safe.unlock(Secret(PASSPHRASE))
    assert store.unlocks == 1


# --- locking by itself ------------------------------------------------------------------------------------------


@in_virtual_time
async def test_it_locks_when_nobody_asked_for_long_enough() -> None:
    """`lock_after`: by itself, and while the machine slept too."""
    world = World(names=("work",), daemon=DaemonConfig(lock_after_s=8 * HOUR_S))
    watching = asyncio.create_task(world.broker.lock_when_unused())
    await world.token("work")
    await asyncio.sleep(7 * HOUR_S)
    await world.token("work")
    await asyncio.sleep(7 * HOUR_S)
    assert states(world) == ["fresh"]
    await asyncio.sleep(HOUR_S + 31)
    assert states(world) == ["locked"]
    watching.cancel()


@in_virtual_time
async def test_a_machine_that_wakes_up_hands_out_nothing_after_that_time() -> None:
    """The ask itself notices, before any timer does."""
    world = World(names=("work",), daemon=DaemonConfig(lock_after_s=8 * HOUR_S))
    await world.token("work")
    world.clock.sleep(9 * HOUR_S)
    with pytest.raises(Locked):
        await world.token("work")
    await world.broker.safe.unlock()
    await world.token("work")


@in_virtual_time
async def test_it_never_locks_by_itself_by_default() -> None:
    """Nor after a reload that takes `lock_after` away."""
    world = World(names=("work",), daemon=DaemonConfig(lock_after_s=60))
    watching = asyncio.create_task(world.broker.lock_when_unused())
    world.broker.apply(replace(world.config, daemon=DaemonConfig()))
    await asyncio.sleep(100 * HOUR_S)
    assert not world.broker.safe.locked
    watching.cancel()


# --- stored secrets ---------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_stored_secret_is_used_from_the_moment_it_is_changed() -> None:
    """The credential that is this record drops what it had; others keep theirs."""
    world = World(Step(text="fake-token-1"), record=lambda _settings, name: name)
    assert [await world.token("work"), await world.token("play")] == ["fake-token-1"] * 2
    await world.broker.secrets.put("work", Secret("fake-token-2"))
    assert await world.token("work") == "fake-token-2"
    assert await world.token("play") == "fake-token-1"
    assert [fetcher.calls for fetcher in world.fetchers] == [2, 1]


@in_virtual_time
async def test_a_deleted_secret_is_served_no_more() -> None:
    """Though it had no end: whoever deletes it means it."""
    gone = TransientFetchError("there is none")
    world = World(Step(lifetime_s=None), Step(error=gone), names=("work",), record=lambda _settings, name: name)
    await world.broker.secrets.put("work", Secret("fake-token-1"))
    await world.token("work")
    assert await world.broker.secrets.delete("work")
    assert world.broker.keeper("work").life.held is None
    assert not await world.broker.secrets.delete("work")


@in_virtual_time
async def test_the_trail_tells_who_changed_which_secret_and_never_what_it_is() -> None:
    """Deleting what is not there is no change; a source that keeps something of its own is nobody's ask."""
    world = World()
    who = Who(40, "broker", within=7)
    await world.broker.secrets.put("work", Secret("fake-token-2"), who)
    await world.broker.secrets.delete("nothing", who)
    await LentSecrets(world.broker.secrets).put("grant", Secret("fake-token-3"))
    await world.broker.secrets.delete("work", who)
    asked = {"pid": 40, "program": "broker", "role": "other"}
    assert world.audit == [
        {"event": "secret-stored", "reason": "work"} | asked,
        {"event": "secret-stored", "reason": "grant"},
        {"event": "secret-deleted", "reason": "work"} | asked,
    ]


@in_virtual_time
async def test_who_hangs_up_leaves_no_secret_half_changed() -> None:
    """It is stored, used and in the trail, also when nobody waits for the answer any more."""

    class Slow(FakeStore):
        async def put(self, name: str, value: Secret) -> None:
            await asyncio.sleep(0.5)
            await super().put(name, value)

    world = World(Step(), Step(text="fake-token-2"), record=lambda _settings, name: name, store=Slow())
    await world.token("work")
    storing = asyncio.create_task(world.broker.secrets.put("work", Secret("fake-token-2")))
    await settle()
    storing.cancel()
    await asyncio.sleep(1)
    assert [facts["reason"] for facts in world.audited("secret-stored")] == ["work"]
    assert await world.token("work") == "fake-token-2"


@in_virtual_time
async def test_a_reload_while_the_store_opens_waits_for_it_like_the_start() -> None:
    """New credentials have what was kept as soon as it is read."""
    before = World()
    await before.token("work")
    world = World(Step(text="fake-token-new"), store=before.store, clock=before.clock)
    world.store.opens_in_s = 1.0
    world.broker.start()
    await settle()
    world.broker.apply(world.with_credential("work", timing=Timing(min_validity_s=1)))
    assert await world.token("work") == "fake-token-1"


@in_virtual_time
async def test_who_waits_for_a_credential_of_an_earlier_config_is_told_too() -> None:
    """A reload let it wait for its answer; the lock does not."""
    world = World(Step(after_s=1e6), names=("work",))
    waiting = asyncio.create_task(world.token("work"))
    await asyncio.sleep(0.1)
    world.broker.apply(world.with_credential("work", settings=Settings("y")))
    await settle()
    await world.broker.safe.lock("a test")
    with pytest.raises(Locked):
        await waiting


@pytest.mark.parametrize("value", ["", "fake\nlines", "fake\ttab", "fake\x7f", "\ud800", "x" * 16_385, "ä" * 8_193])
@in_virtual_time
async def test_what_is_no_text_is_not_stored(value: str) -> None:
    """The reason is said, the value is not, and what was there stays."""
    world = World()
    await world.broker.secrets.put("work", Secret("fake-token-1"))
    with pytest.raises(BadRequest, match=r"secret work: the value .*; nothing was stored") as caught:
        await world.broker.secrets.put("work", Secret(value))
    assert not value or value not in str(caught.value)
    assert world.store.get(SECRETS + "work") == Secret("fake-token-1")


@pytest.mark.parametrize("name", ["", "../x", "a b", "-x", "x" * 65, "token/work"])
@in_virtual_time
async def test_a_name_is_a_name(name: str) -> None:
    """None leads out of the secrets' own corner of the store."""
    world = World()
    with pytest.raises(BadRequest, match="a secret's name is"):
        await world.broker.secrets.put(name, Secret("fake-token-1"))
    with pytest.raises(BadRequest, match="a secret's name is"):
        await world.broker.secrets.delete(name)


@in_virtual_time
async def test_a_source_may_use_what_is_stored_and_hears_its_own_errors() -> None:
    """Sources speak in the errors of fetches only."""
    world = World()
    lent = LentSecrets(world.broker.secrets)
    await lent.put("work", Secret("fake-token-1"))
    assert (world.broker.secrets.names(), lent.get("work"), lent.get("play")) == (
        ["work"],
        Secret("fake-token-1"),
        None,
    )
    assert await lent.delete("work")
    await world.broker.safe.lock("a test")
    for call in (lent.put("work", Secret("x")), lent.delete("work")):
        with pytest.raises(TransientFetchError, match="broker unlock"):
            await call
    with pytest.raises(TransientFetchError, match="broker unlock"):
        lent.get("work")


@in_virtual_time
async def test_where_nothing_can_be_stored_the_reason_is_said() -> None:
    """As the store says it."""
    world = World(store=FakeStore(persist="off"))
    with pytest.raises(StorageError, match="no home"):
        await world.broker.secrets.put("work", Secret("fake-token-1"))


@in_virtual_time
async def test_closing_writes_what_is_due_also_while_the_store_still_opens() -> None:
    """The daemon's end does not wait for a keyring."""
    world = World(store=FakeStore(opens_in_s=1e6))
    world.broker.start()
    await settle()
    began = asyncio.get_running_loop().time()
    await world.broker.close()
    assert world.store.closed
    assert asyncio.get_running_loop().time() - began < 0.1


@in_virtual_time
async def test_closing_lets_a_lock_under_way_finish() -> None:
    """What was to be locked is locked when the daemon is gone."""
    world = World(names=("work",))
    await world.token("work")
    world.sources[0].farewell_s = 1.0
    locking = asyncio.create_task(world.broker.safe.lock("a test"))
    await settle()
    await world.broker.close()
    assert locking.done()
    assert world.store.locked


@in_virtual_time
async def test_a_status_waits_a_moment_for_what_it_tells() -> None:
    """Before the store is open nobody knows where its key lives; a keyring that hangs does not hold it up."""
    world = World(store=FakeStore(opens_in_s=1e6))
    world.broker.start()
    began = asyncio.get_running_loop().time()
    await world.broker.safe.opened()
    assert asyncio.get_running_loop().time() - began == pytest.approx(2.0, abs=0.1)
    await world.broker.close()
