"""One credential under many callers: whoever waits, leaves, is refused or comes too late (issue 2, item 5)."""

from __future__ import annotations

import asyncio

import pytest

from broker.engine.callers import Session
from broker.errors import (
    DeadlineExceeded,
    LoginRequired,
    NeedsLogin,
    PermanentFetchError,
    SourceFailed,
    TransientFetchError,
)
from broker.model import Timing
from tests.service.scripted import HANGING_S, Kept, Step, text_of
from tests.service.virtual_time import in_virtual_time

SESSION = Session(pid=10, started=1)
HOUR_S = 3600.0


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _settle() -> None:
    """Let everything that is due now happen."""
    await asyncio.sleep(0.001)


# --- single flight ----------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_hundred_callers_share_one_fetch() -> None:
    """However many wait, the source is asked once, and all get its answer."""
    kept = Kept(Step(after_s=1.0, text="fake-token-1"))
    answers = await asyncio.gather(*(kept.ask() for _ in range(100)))
    assert answers == ["fake-token-1"] * 100
    assert kept.fetcher.calls == 1
    assert kept.keeper.life.counters.served == 100
    assert kept.told() == ["issued"]
    assert _now() == pytest.approx(1.0, abs=0.01)


@in_virtual_time
async def test_a_hundred_callers_share_one_failure() -> None:
    """The source's failure is everybody's answer, and nobody makes a second attempt."""
    kept = Kept(Step(after_s=1.0, error=TransientFetchError("the source is down")))
    answers = await asyncio.gather(*(kept.ask() for _ in range(100)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {SourceFailed}
    assert kept.fetcher.calls == 1


@in_virtual_time
async def test_a_caller_that_leaves_cancels_nothing() -> None:
    """The others get their token from the same fetch."""
    kept = Kept(Step(after_s=1.0, text="fake-token-1"))
    leaving, staying = asyncio.create_task(kept.ask()), asyncio.create_task(kept.ask())
    await asyncio.sleep(0.5)
    leaving.cancel()
    assert await staying == "fake-token-1"
    assert leaving.cancelled()
    assert (kept.fetcher.calls, kept.fetcher.cancelled) == (1, 0)


@in_virtual_time
async def test_when_the_last_caller_leaves_the_fetch_still_completes() -> None:
    """Its token serves whoever asks next."""
    kept = Kept(Step(after_s=1.0, text="fake-token-1"))
    only = asyncio.create_task(kept.ask())
    await asyncio.sleep(0.5)
    only.cancel()
    await asyncio.sleep(1.0)
    assert await kept.ask() == "fake-token-1"
    assert kept.fetcher.calls == 1


@in_virtual_time
async def test_a_slow_source_delays_no_other_credential() -> None:
    """Each credential waits for its own source alone."""
    slow, quick = Kept(Step(after_s=HANGING_S), name="slow"), Kept(name="quick")
    waiting = asyncio.create_task(slow.ask())
    await _settle()
    started = _now()
    assert await quick.ask() == "fake-token-1"
    assert _now() - started < 0.01
    waiting.cancel()
    await slow.keeper.close()


# --- waiting ----------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_valid_token_is_waited_for_half_a_second_at_most() -> None:
    """Short of life but valid: the better token gets 500 ms to come."""
    kept = Kept(Step(text="fake-token-1"), Step(after_s=2.0, text="fake-token-2"), timing=Timing(idle_after_s=60))
    await kept.ask()
    await asyncio.sleep(HOUR_S - 100)
    started = _now()
    assert await kept.ask(300) == "fake-token-1"
    assert _now() - started == pytest.approx(0.5, abs=0.01)
    await asyncio.sleep(1.6)
    assert await kept.ask(300) == "fake-token-2"
    assert kept.fetcher.calls == 2


@in_virtual_time
async def test_a_better_token_that_comes_in_time_ends_the_wait() -> None:
    """The brief wait lasts no longer than the fetch."""
    kept = Kept(Step(text="fake-token-1"), Step(after_s=0.2, text="fake-token-2"), timing=Timing(idle_after_s=60))
    await kept.ask()
    await asyncio.sleep(HOUR_S - 100)
    started = _now()
    assert await kept.ask(300) == "fake-token-2"
    assert _now() - started == pytest.approx(0.2, abs=0.01)


@in_virtual_time
async def test_a_token_that_dies_during_the_brief_wait_is_waited_for_as_long_as_the_caller_can() -> None:
    """The half second protects a valid token only."""
    kept = Kept(Step(text="fake-token-1"), Step(after_s=2.0, text="fake-token-2"), timing=Timing(idle_after_s=60))
    await kept.ask()
    await asyncio.sleep(HOUR_S - 0.2)
    assert await kept.ask(300) == "fake-token-2"


@in_virtual_time
async def test_at_the_deadline_the_caller_is_told_so() -> None:
    """Without a valid token the answer is the deadline's error, in time; the fetch goes on."""
    kept = Kept(Step(after_s=20.0, text="fake-token-1"))
    with pytest.raises(DeadlineExceeded):
        await kept.ask(deadline_s=9.0)
    assert _now() == pytest.approx(9.0, abs=0.01)
    assert await kept.ask(deadline_s=15.0) == "fake-token-1"
    assert kept.fetcher.calls == 1


@in_virtual_time
async def test_a_deadline_of_nothing_is_kept_too() -> None:
    """It asks the source, and says at once that there is nothing yet."""
    kept = Kept(Step(after_s=1.0, text="fake-token-1"))
    with pytest.raises(DeadlineExceeded):
        await kept.ask(deadline_s=0.0)
    await asyncio.sleep(1.1)
    assert await kept.ask(deadline_s=0.0) == "fake-token-1"


@in_virtual_time
async def test_a_source_that_never_answers_is_given_up() -> None:
    """Every fetch has a total time-out, after which the next attempt may be made."""
    kept = Kept(Step(after_s=HANGING_S), Step(text="fake-token-2"))
    kept.fetcher.timeout_s = 5.0
    with pytest.raises(SourceFailed, match="did not answer within 5s"):
        await kept.ask()
    assert kept.fetcher.cancelled == 1
    await asyncio.sleep(6)
    assert await kept.ask() == "fake-token-2"


# --- failures ---------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_bug_in_a_source_leaves_nothing_refreshing_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    """Any exception is a failure like others; its text, which may hold a secret, is shown nowhere."""
    kept = Kept(Step(error=KeyError("fake-secret")), Step(text="fake-token-2"))
    with pytest.raises(SourceFailed, match=r"the source has a bug \(KeyError\)") as raised:
        await kept.ask()
    assert "fake-secret" not in str(raised.value) + caplog.text
    assert not kept.keeper.life.fetching
    await asyncio.sleep(10)
    assert await kept.ask() == "fake-token-2"


@in_virtual_time
async def test_a_source_that_cancels_itself_leaves_nobody_hanging() -> None:
    """A library's own cancellation is a failure too."""
    kept = Kept(Step(after_s=0.1, error=asyncio.CancelledError()))
    with pytest.raises(SourceFailed, match="interrupted"):
        await kept.ask()


@in_virtual_time
async def test_a_secret_is_scrubbed_from_a_source_s_complaint() -> None:
    """What the source quotes of the token in hand does not reach error, event or status; nor do further lines."""
    error = TransientFetchError("cannot renew fake-token-1\nas asked")
    kept = Kept(Step(text="fake-token-1"), Step(error=error))
    await kept.ask()
    await kept.keeper.refresh()
    assert kept.keeper.life.failure is not None
    assert kept.keeper.life.failure.message == "cannot renew *** as asked"
    assert kept.events[-1].reason == "cannot renew *** as asked"


@pytest.mark.parametrize("retry_after_s", [60, 60.0])
@in_virtual_time
async def test_a_source_s_retry_after_is_kept(retry_after_s: float) -> None:
    """Whole seconds or not: no attempt before that, and one right after, though nobody asks."""
    kept = Kept(Step(error=TransientFetchError("rate limited", retry_after_s=retry_after_s)))
    with pytest.raises(SourceFailed, match="rate limited; next try in 60s"):
        await kept.ask()
    await asyncio.sleep(59)
    with pytest.raises(SourceFailed):
        await kept.ask()
    assert kept.fetcher.calls == 1
    await asyncio.sleep(1.1)
    assert kept.fetcher.calls == 2


@in_virtual_time
async def test_only_a_person_mends_a_missing_login() -> None:
    """No attempt by itself; `broker refresh` makes one."""
    kept = Kept(Step(error=LoginRequired("run: broker login corp")))
    with pytest.raises(NeedsLogin, match="run: broker login corp"):
        await kept.ask()
    await asyncio.sleep(HOUR_S)
    with pytest.raises(NeedsLogin):
        await kept.ask()
    assert kept.fetcher.calls == 1
    await kept.keeper.refresh()
    assert await kept.ask() == "fake-token-2"


@in_virtual_time
async def test_what_is_denied_is_told_with_its_remedy() -> None:
    """A permanent failure is the source's, not the person's login."""
    kept = Kept(Step(error=PermanentFetchError("no such secret")))
    with pytest.raises(SourceFailed, match="no such secret; when that is mended run: broker refresh"):
        await kept.ask()


@in_virtual_time
async def test_an_expired_token_from_the_source_is_told_as_a_failure() -> None:
    """Who listens to events learns why nothing came."""
    kept = Kept(Step(lifetime_s=-5.0))
    with pytest.raises(SourceFailed, match="expired already"):
        await kept.ask()
    assert kept.told() == ["failed"]


# --- refusals ---------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_session_that_asks_again_early_gets_a_new_token() -> None:
    """Its token was refused upstream: the source is asked before it is answered, though that takes a while."""
    kept = Kept(Step(text="fake-token-1"), Step(after_s=3.0, text="fake-token-2"))
    assert text_of((await kept.keeper.ask(300, 9, SESSION)).issued) == "fake-token-1"
    await asyncio.sleep(60)
    assert text_of((await kept.keeper.ask(300, 9, SESSION)).issued) == "fake-token-2"
    assert kept.told() == ["issued", "rejected", "refreshed"]
    assert kept.keeper.life.counters.rejections == 1


@in_virtual_time
async def test_ten_refused_sessions_share_one_new_token() -> None:
    """All at once after a revocation: one fetch, ten answers."""
    kept = Kept(Step(text="fake-token-1"), Step(after_s=1.0, text="fake-token-2"))
    sessions = [Session(pid, started=1) for pid in range(100, 110)]
    await asyncio.gather(*(kept.keeper.ask(300, 9, session) for session in sessions))
    await asyncio.sleep(60)
    answers = await asyncio.gather(*(kept.keeper.ask(300, 9, session) for session in sessions))
    assert {text_of(held.issued) for held in answers} == {"fake-token-2"}
    assert kept.fetcher.calls == 2


@in_virtual_time
async def test_a_caller_that_is_no_session_tells_nothing_by_asking() -> None:
    """A status line may ask every 300 ms."""
    kept = Kept()
    for _ in range(100):
        await kept.ask()
        await asyncio.sleep(0.3)
    assert kept.fetcher.calls == 1


@in_virtual_time
async def test_whoever_waits_when_a_token_is_refused_gets_the_new_one() -> None:
    """A caller in its brief wait is not handed the token that was just refused."""
    kept = Kept(Step(text="fake-token-1"), Step(after_s=2.0, text="fake-token-2"), timing=Timing(idle_after_s=60))
    held = await kept.keeper.ask(300, 9)
    await asyncio.sleep(HOUR_S - 100)
    waiting = asyncio.create_task(kept.ask(300))
    await asyncio.sleep(0.1)
    assert kept.keeper.rejected(kept.keeper.fingerprint(held), "reported: 401")
    assert await waiting == "fake-token-2"
    assert kept.fetcher.calls == 2


@in_virtual_time
async def test_a_reported_refusal_is_acted_on_before_anybody_asks() -> None:
    """`POST /v1/rejected` fetches at once."""
    kept = Kept()
    held = await kept.keeper.ask(300, 9)
    await asyncio.sleep(2)
    assert kept.keeper.rejected(kept.keeper.fingerprint(held), "reported: 403")
    await _settle()
    assert kept.fetcher.calls == 2
    assert await kept.ask() == "fake-token-2"
    assert not kept.keeper.rejected(kept.keeper.fingerprint(held), "reported: 403"), "the old token is no news"


@in_virtual_time
async def test_a_refusal_reported_a_hundred_times_is_told_once() -> None:
    """A caller that repeats itself fills neither the log nor the event stream; every report is counted."""
    kept = Kept(Step(text="fake-token-1"), Step(after_s=5.0, text="fake-token-2"))
    held = await kept.keeper.ask(300, 9)
    for _ in range(100):
        assert kept.keeper.rejected(kept.keeper.fingerprint(held), "reported: 401")
    assert kept.told().count("rejected") == 1
    assert kept.keeper.life.counters.rejections == 100
    assert kept.fetcher.calls == 1, "the second has not begun yet"
    assert await kept.ask() == "fake-token-2"


@in_virtual_time
async def test_reports_about_tokens_that_are_not_in_hand_change_nothing() -> None:
    """A wrong fingerprint, or no token at all."""
    kept = Kept()
    assert not kept.keeper.rejected("0" * 12, "reported: 401")
    assert not kept.keeper.limited("0" * 12, 5)
    held = await kept.keeper.ask(300, 9)
    assert not kept.keeper.rejected("0" * 12, "reported: 401")
    assert not kept.keeper.limited("0" * 12, 5)
    assert kept.keeper.limited(kept.keeper.fingerprint(held), 5)
    assert [warn.code for warn in kept.keeper.life.warnings(kept.clock.now())] == ["rate-limited"]
    assert kept.fetcher.calls == 1


# --- by itself --------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_token_is_renewed_without_anybody_asking_and_not_for_ever() -> None:
    """Ahead of time while in use; after `idle_after` no more."""
    kept = Kept(timing=Timing(idle_after_s=3 * HOUR_S))
    await kept.ask()
    await asyncio.sleep(2399)
    assert kept.fetcher.calls == 2, "by jitter a little before two thirds"
    await asyncio.sleep(24 * HOUR_S)
    assert kept.fetcher.calls in {5, 6}
    before = kept.fetcher.calls
    assert not kept.keeper.in_use
    await kept.ask()
    assert kept.fetcher.calls == before + 1


@in_virtual_time
async def test_after_a_night_asleep_the_first_caller_gets_a_living_token() -> None:
    """Timers stand still in suspend; the clock that tells death does not."""
    kept = Kept()
    await kept.ask()
    kept.clock.sleep(5 * HOUR_S)
    assert await kept.ask() == "fake-token-2"


@in_virtual_time
async def test_after_a_sleep_the_daemon_catches_up_by_itself_within_half_a_minute() -> None:
    """No timer is set further ahead than that."""
    kept = Kept()
    await kept.ask()
    kept.clock.sleep(2500)
    await asyncio.sleep(31)
    assert kept.fetcher.calls == 2


@in_virtual_time
async def test_after_a_clock_was_set_the_daemon_catches_up_by_itself() -> None:
    """A jump of the time of day is noticed as soon."""
    kept = Kept()
    await kept.ask()
    kept.clock.set(2 * HOUR_S)
    await asyncio.sleep(31)
    assert kept.fetcher.calls == 2


@in_virtual_time
async def test_changed_inputs_are_fetched_at_once_while_in_use() -> None:
    """A replaced file is noticed before somebody asks; of an unused credential it is left alone."""
    kept = Kept()
    kept.keeper.inputs_changed()
    await _settle()
    assert kept.fetcher.calls == 0
    await kept.ask()
    kept.keeper.inputs_changed()
    await _settle()
    assert kept.fetcher.calls == 2


# --- the end ----------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_closing_ends_a_hanging_fetch_and_every_wait_for_it() -> None:
    """A daemon that stops waits for no source, and no caller waits for the daemon."""
    kept = Kept(Step(after_s=HANGING_S))
    waiting = asyncio.create_task(kept.ask())
    await asyncio.sleep(1)
    await kept.keeper.close()
    with pytest.raises(SourceFailed, match="interrupted"):
        await waiting
    assert kept.fetcher.cancelled == 1
    assert _now() < 1.1


@in_virtual_time
async def test_closing_a_fetch_that_has_not_even_begun_leaves_nobody_hanging() -> None:
    """Also in the moment between the decision and the first step."""
    kept = Kept(Step(after_s=HANGING_S))
    waiting = asyncio.create_task(kept.ask())
    await asyncio.sleep(0)
    assert kept.fetcher.calls == 0
    await kept.keeper.close()
    assert not kept.keeper.life.fetching
    with pytest.raises(SourceFailed, match="interrupted"):
        await waiting


@in_virtual_time
async def test_closing_without_a_fetch_is_quick() -> None:
    """Nothing to wait for, and nothing is fetched afterwards."""
    kept = Kept()
    await kept.ask()
    await kept.keeper.close()
    await asyncio.sleep(HOUR_S)
    assert kept.fetcher.calls == 1


@in_virtual_time
async def test_a_retired_keeper_answers_who_waits_and_starts_nothing_more() -> None:
    """After a reload the old credential's callers still get their answer."""
    kept = Kept(Step(after_s=1.0, text="fake-token-1"))
    waiting = asyncio.create_task(kept.ask())
    await asyncio.sleep(0.5)
    kept.keeper.retire()
    await kept.keeper.settled()
    assert await waiting == "fake-token-1"
    await asyncio.sleep(HOUR_S)
    assert kept.fetcher.calls == 1


@in_virtual_time
async def test_a_person_s_refresh_waits_for_its_outcome_and_is_damped() -> None:
    """When it returns, `status` shows what came of it; twice within the interval is once."""
    kept = Kept(Step(text="fake-token-1"), Step(after_s=2.0, text="fake-token-2"))
    await kept.ask()
    await kept.keeper.refresh()
    assert kept.keeper.life.held is not None
    assert text_of(kept.keeper.life.held.issued) == "fake-token-2"
    await kept.keeper.refresh()
    assert kept.fetcher.calls == 2


@in_virtual_time
async def test_fingerprints_name_each_token_and_only_it() -> None:
    """The same for the same token, another for another; never the token itself."""
    kept = Kept()
    first = await kept.keeper.ask(300, 9)
    name = kept.keeper.fingerprint(first)
    await kept.keeper.refresh()
    second = await kept.keeper.ask(300, 9)
    assert kept.keeper.fingerprint(second) != name
    assert kept.keeper.fingerprint(first) == name
    assert [event.fingerprint for event in kept.events] == [name, kept.keeper.fingerprint(second)]


@in_virtual_time
async def test_a_refused_or_unwanted_token_is_not_merely_prolonged() -> None:
    """A source that renews leases is told when the next one must be another: on a refusal, and when a person asks."""
    kept = Kept()
    await kept.ask()
    await asyncio.sleep(60)
    assert kept.fetcher.renounced == 0
    held = kept.keeper.life.held
    assert held is not None
    kept.keeper.rejected(kept.keeper.fingerprint(held), "reported")
    assert kept.fetcher.renounced == 1
    await kept.keeper.settled()
    await asyncio.sleep(60)
    await kept.keeper.refresh()
    assert kept.fetcher.renounced == 2
    await kept.keeper.refresh()
    assert kept.fetcher.renounced == 2, "damped"
