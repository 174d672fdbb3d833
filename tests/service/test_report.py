"""`GET /v1/status` by the letter of what is promised, for every condition of a credential."""

from __future__ import annotations

import asyncio
import json

import pytest

from broker.errors import LoginRequired, TransientFetchError
from broker.model import Timing
from broker.service import report
from tests.service.scripted import Kept, Step
from tests.service.virtual_time import WALL, in_virtual_time

EXAMPLE = """{"name": "", "source": "", "kind": "api-key", "state": "fresh", "refreshing": false,
   "expires_at": "2026-01-01T00:00:00Z", "expires_in_s": 0, "lifetime_s": 0, "fingerprint": "",
   "last_refresh_at": null, "next_refresh_at": null, "served": 0, "refreshes": 0, "failures": 0, "rejections": 0,
   "last_error": null, "warnings": [], "details": {}}"""
"""Every key, in order: others' scripts read them."""


def _report(kept: Kept) -> report.Json:
    return report.credential(kept.keeper, "corp", kept.clock)


@in_virtual_time
async def test_a_credential_has_exactly_the_promised_fields_in_every_state() -> None:
    """Scripts may rely on each name being there, and on JSON being able to hold it."""
    kept = Kept(
        Step(error=TransientFetchError("down")), Step(lifetime_s=100), Step(after_s=2, error=LoginRequired("sign in"))
    )
    promised = list(json.loads(EXAMPLE))
    states = []

    def note() -> None:
        found = _report(kept)
        assert list(found) == promised
        assert "fake-token" not in json.dumps(found)
        states.append(found["state"])

    note()
    await asyncio.gather(kept.ask(), return_exceptions=True)
    note()
    await asyncio.sleep(6)
    await kept.ask(0)
    note()
    await asyncio.sleep(60)
    note()
    await asyncio.sleep(60)
    note()
    assert states == ["empty", "failing", "fresh", "stale", "needs-login"]


@in_virtual_time
async def test_a_fresh_token_is_described_in_full() -> None:
    """Times as RFC 3339 in UTC, durations in seconds."""
    kept = Kept(timing=Timing())
    await kept.ask()
    await asyncio.sleep(10)
    found = _report(kept)
    assert (found["name"], found["source"], found["kind"], found["state"]) == ("work", "corp", "api-key", "fresh")
    assert found["expires_at"] == report.timestamp(WALL + 3600) == "2027-01-15T09:00:00Z"
    assert (found["expires_in_s"], found["lifetime_s"]) == (3589, 3600.0)
    assert found["last_refresh_at"] == "2027-01-15T08:00:00Z"
    assert found["next_refresh_at"].startswith("2027-01-15T08:3")
    assert (found["served"], found["refreshes"], found["failures"], found["rejections"]) == (1, 1, 0, 0)
    assert len(found["fingerprint"]) == 12
    assert (found["last_error"], found["warnings"], found["details"]) == (None, [], {})


@in_virtual_time
async def test_a_static_key_has_no_times() -> None:
    """Nothing expires, and nothing is due."""
    kept = Kept(Step(lifetime_s=None))
    await kept.ask()
    found = _report(kept)
    assert [found[name] for name in ("expires_at", "expires_in_s", "lifetime_s", "next_refresh_at")] == [None] * 4


@in_virtual_time
async def test_a_fetch_under_way_shows() -> None:
    """`refreshing` is beside the state."""
    kept = Kept(Step(after_s=1))
    waiting = asyncio.create_task(kept.ask())
    await asyncio.sleep(0.5)
    assert (_report(kept)["state"], _report(kept)["refreshing"]) == ("empty", True)
    await waiting
    assert _report(kept)["refreshing"] is False


@in_virtual_time
async def test_warnings_have_a_code_and_a_message() -> None:
    """As is promised of them."""
    kept = Kept(Step(lifetime_s=60))
    await kept.ask()
    (warning,) = _report(kept)["warnings"]
    assert list(warning) == ["code", "message"]
    assert warning["code"] == "ttl-too-long"


@pytest.mark.parametrize(
    ("epoch_s", "written"),
    [
        (None, None),
        (0.0, "1970-01-01T00:00:00Z"),
        (1_767_225_599.9, "2025-12-31T23:59:59Z"),
        (1e18, "9999-12-31T23:59:59Z"),
        (float("inf"), "9999-12-31T23:59:59Z"),
    ],
)
def test_times_that_no_calendar_has_are_written_as_its_end(epoch_s: float | None, written: str | None) -> None:
    """A source may say the year 99999."""
    assert report.timestamp(epoch_s) == written
