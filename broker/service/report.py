"""What `GET /v1/status` says: never a secret."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from broker.clock import Clock, Now
from broker.engine.vocabulary import Warn
from broker.service.keeper import Keeper

Json = dict[str, Any]


def credential(keeper: Keeper, source: str, clock: Clock) -> Json:
    """Describe one credential."""
    now = clock.now()
    life = keeper.life
    state = "locked" if keeper.locked else str(life.state(now))
    held = life.held
    expires_at = held.issued.expires_at if held is not None else None
    lifetime_s = held.lifetime_s if held is not None and held.lifetime_s < math.inf else None
    return {
        "name": keeper.name,
        "source": source,
        "kind": str(keeper.kind),
        "state": state,
        "refreshing": life.fetching,
        "expires_at": timestamp(expires_at),
        "expires_in_s": max(0, int(held.remaining_s(now))) if held is not None and expires_at is not None else None,
        "lifetime_s": round(lifetime_s, 3) if lifetime_s is not None else None,
        "fingerprint": keeper.fingerprint(held) if held is not None else None,
        "last_refresh_at": timestamp(life.last_refresh.wall if life.last_refresh is not None else None),
        "next_refresh_at": timestamp(_next_refresh(keeper, now)),
        "served": life.counters.served,
        "refreshes": life.counters.refreshes,
        "failures": life.counters.failures,
        "rejections": life.counters.rejections,
        "last_error": life.failure.message if life.failure is not None else None,
        "warnings": [warning(found) for found in life.warnings(now)],
        "details": dict(held.issued.details) if held is not None else {},
    }


def warning(found: Warn) -> Json:
    """Describe one warning."""
    return {"code": found.code, "message": found.message}


def timestamp(epoch_s: float | None) -> str | None:
    """Write epoch seconds as RFC 3339 in UTC, to the second."""
    if epoch_s is None:
        return None
    try:
        return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):  # a source may say the year 99999
        return "9999-12-31T23:59:59Z"


def _next_refresh(keeper: Keeper, now: Now) -> float | None:
    due = None if keeper.locked else keeper.life.wake_at(now)
    return None if due is None else now.wall + max(0.0, due - now.mono)
