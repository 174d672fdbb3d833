"""What `GET /v1/status` says of a pool: in the shape of every credential, each member in `details`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from broker.clock import Clock, Now
from broker.engine.pool import Member, Pool
from broker.service import report
from broker.service.keeper import Keeper

Json = dict[str, Any]

_BEST_FIRST: Final = ("fresh", "stale", "empty", "expired", "needs-login", "failing", "locked")
_VALID: Final = frozenset({"fresh", "stale"})
_NONE_LEFT: Final = frozenset({"needs-login", "failing"})


def pool(name: str, source: str, of: Pool, keepers: Sequence[Keeper], *, current: str, clock: Clock) -> Json:
    """Describe one pool. `current`: whose turn it is; the token is that one's, the counts are the pool's own."""
    now = clock.now()
    members = [_member(of.members[keeper.name], report.credential(keeper, source, clock), now) for keeper in keepers]
    found = report.credential(next(keeper for keeper in keepers if keeper.name == current), source, clock)
    errors = [f"{member['name']}: {member['last_error']}" for member in members if member["last_error"]]
    state = _state(members)
    return found | {
        "name": name,
        "state": state,
        "served": of.served,
        "rejections": of.rejections,
        "refreshes": 0,
        "failures": 0,
        "last_error": "; ".join(errors) or None if state in _NONE_LEFT else None,
        "warnings": _warnings(members, current),
        "details": {"strategy": str(of.strategy), "members": members},
    }


def _member(member: Member, found: Json, now: Now) -> Json:
    rests_s = member.rests_s(now.mono)
    return {
        "name": member.name,
        "state": found["state"],
        "fingerprint": found["fingerprint"],
        "rests_s": round(rests_s),
        "why": str(member.cause) if rests_s > 0 else None,
        "last_error": found["last_error"],
    }


def _state(members: Sequence[Json]) -> str:
    """Name the best state among the members; one that rests has none better than `stale`."""
    states = [
        "stale" if member["why"] is not None and member["state"] in _VALID else member["state"] for member in members
    ]
    return str(min(states, key=_BEST_FIRST.index))


def _warnings(members: Sequence[Json], current: str) -> list[Json]:
    resting = [member for member in members if member["why"] is not None]
    found = [
        _warning("member-resting", f"{one['name']} rests for another {one['rests_s']}s: {one['why']}")
        for one in resting
    ]
    if len(resting) == len(members):
        found.append(_warning("all-resting", f"every member rests; {current} is served all the same"))
    found += [
        _warning(f"member-{one['state']}", f"{one['name']} is passed over: {one['last_error']}")
        for one in members
        if one["state"] in _NONE_LEFT
    ]
    return found


def _warning(code: str, message: str) -> Json:
    return {"code": code, "message": message}
