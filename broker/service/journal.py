"""What is worth a line in the audit trail: everything that happens, and of the answers those that are news.

A session asks again and again for the token that it has, a status line three times a second; written down each time,
that would push out of the trail what matters. So an answer is a line when its recipient is given this token for the
first time, and then at most once an hour, with how often since (`times`). A recipient is one Claude Code session as
its `apiKeyHelper`; the same one's tools and hooks, by program; and for callers without a Claude Code, a program in
one terminal or service. So every recipient of every token is in the trail, and until when it was given it, to the hour.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Final

from broker.clock import Clock, Now
from broker.engine.callers import Session
from broker.platform.interface import Peer
from broker.service.ancestors import Lineage
from broker.service.events import CHILD, HELPER, Event, Who

REPEAT_S: Final = 3600.0
RECIPIENTS_MAX: Final = 4096
"""Recipients remembered; the one that asked longest ago is forgotten first, which costs one line."""

_IDENTITIES: Final = ("arn", "email")

Facts = dict[str, str | int | None]
Record = Callable[[float, Facts], None]
"""Writes down what happened at a moment (epoch seconds); returns at once."""


@dataclass(slots=True)
class _Told:
    at: float
    times: int = 0


class Journal:
    """Hears every event and every answer, and records what is news."""

    def __init__(self, clock: Clock, record: Record) -> None:
        self._clock = clock
        self._record = record
        self._told: OrderedDict[Hashable, _Told] = OrderedDict()

    def hear(self, event: Event) -> None:
        """Record an event; the same refusal of the same caller like an answer, not each time."""
        times = None
        if event.who is not None and event.name == "refused":
            times = self._news(
                self._clock.now().mono, (event.name, event.credential, hash(event.reason), event.who.recipient)
            )
            if times == 0:
                return
        facts = _facts(event.name, event.credential, event.fingerprint, event.expires_in_s, event.who)
        self._record(event.at, facts | {"reason": event.reason, "times": _many(times)})

    def served(
        self,
        now: Now,
        credential: str,
        fingerprint: str,
        expires_in_s: int | None,
        who: Who,
        *,
        identity: str | None = None,
        member: str | None = None,
    ) -> None:
        """Record that `who` is given this token, where that is news; `identity`: whose it is (an AWS role's ARN).

        `member`: whose token it is where `credential` is a pool.
        """
        times = self._news(now.mono, (credential, fingerprint, who.recipient))
        if times:
            facts = _facts("served", credential, fingerprint, expires_in_s, who)
            self._record(now.wall, facts | {"member": member, "identity": identity, "times": _many(times)})

    def _news(self, now: float, what: Hashable) -> int:
        """Return for how many times a line about `what` would stand; 0 where none is due. `now` is `mono`."""
        told = self._told.get(what)
        if told is None:
            self._told[what] = _Told(now)
            if len(self._told) > RECIPIENTS_MAX:
                self._told.popitem(last=False)
            return 1
        self._told.move_to_end(what)
        told.times += 1
        if now - told.at < REPEAT_S:
            return 0
        times, told.at, told.times = told.times, now, 0
        return times


def who_is(peer: Peer, lineage: Lineage, session: Session | None) -> Who:
    """Say who is behind an ask; `session` where it is certainly that one's `apiKeyHelper`."""
    caller = lineage.chain[0] if lineage.chain else None
    claude = lineage.claude
    program = caller.name if caller is not None else ""
    if claude is None:
        return Who(peer.pid, program, within=_kernel_session(peer.pid))
    role = HELPER if session is not None else CHILD
    return Who(peer.pid, program, claude.pid, role, within=claude.started)


def identity_in(details: Mapping[str, str]) -> str | None:
    """Find in a credential's details whom it makes of its bearer: an AWS role or user, a Google account."""
    return next((details[name] for name in _IDENTITIES if name in details), None)


def _kernel_session(pid: int) -> int:
    """Return the terminal or service that a process runs in, as setsid(2) made it; 0 where that is not known."""
    try:
        return os.getsid(pid) if pid > 0 else 0
    except OSError:  # it is gone
        return 0


def _facts(event: str, credential: str | None, fingerprint: str | None, left_s: int | None, who: Who | None) -> Facts:
    facts: Facts = {"event": event, "credential": credential, "fingerprint": fingerprint, "expires_in_s": left_s}
    if who is not None:
        facts |= {"pid": who.pid, "program": who.program, "session": who.session, "role": who.role}
    return facts


def _many(times: int | None) -> int | None:
    return times if times is not None and times > 1 else None
