"""Who was given what is written down whole, and a caller that asks all the time fills no disk."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from typing import Any

import pytest

from broker.clock import Now
from broker.engine.callers import Session
from broker.errors import BadRequest, PermanentFetchError, Refused
from broker.model import Issued, Kind, Process
from broker.platform.interface import Peer
from broker.service.admission import Caller
from broker.service.ancestors import Lineage
from broker.service.events import Event, Who
from broker.service.guard import Guard
from broker.service.journal import RECIPIENTS_MAX, REPEAT_S, Journal, identity_in, who_is
from tests.service.scripted import ScriptedFetcher, Step
from tests.service.virtual_time import in_virtual_time
from tests.service.world import HELPER, PERSON, FakePlatform, World

CLAUDE = Who(30, "broker-helper", 10, "helper", within=5)
TOOL = Who(31, "broker-helper", 10, "child", within=5)
PERSONS = Who(40, "broker", within=7)


class Book:
    """A journal whose time the test sets."""

    def __init__(self) -> None:
        self.mono = 0.0
        self.lines: list[dict[str, Any]] = []
        self.journal = Journal(self, lambda _at, facts: self.lines.append({k: v for k, v in facts.items() if v}))

    def now(self) -> Now:
        """Tell the time."""
        return Now(1_800_000_000.0 + self.mono, self.mono)

    def serve(self, *callers: Who, fingerprint: str = "f1") -> None:
        """Hand it out."""
        for who in callers:
            self.journal.served(self.now(), "work", fingerprint, 60, who)


def test_a_session_that_asks_all_the_time_is_one_line() -> None:
    """A status line three times a second, each time a new process; after an hour it is told how often."""
    book = Book()
    for number in range(3 * int(REPEAT_S) + 1):
        book.mono = number / 3
        book.serve(replace(CLAUDE, pid=1000 + number))
    first, second = book.lines
    assert first == {
        "event": "served",
        "credential": "work",
        "fingerprint": "f1",
        "expires_in_s": 60,
        "pid": 1000,
        "program": "broker-helper",
        "session": 10,
        "role": "helper",
    }
    assert second["times"] == 3 * REPEAT_S
    book.mono += REPEAT_S
    book.serve(CLAUDE)
    assert "times" not in book.lines[2], "once since"


def test_every_recipient_of_every_token_is_in_the_trail() -> None:
    """Another token, session, program, terminal; and a tool of the session is not taken for its helper."""
    book = Book()
    others = [
        replace(CLAUDE, session=11),
        replace(CLAUDE, within=6),
        TOOL,
        replace(TOOL, program="curl"),
        PERSONS,
        replace(PERSONS, within=8),
    ]
    book.serve(CLAUDE, *others)
    book.serve(CLAUDE, *others, fingerprint="f2")
    book.serve(CLAUDE, *others, fingerprint="f2")
    assert len(book.lines) == 2 * (1 + len(others))


def test_whose_token_it_is_is_in_the_trail() -> None:
    """Who got which role of AWS's, or which account of Google's; of other credentials there is nothing to tell."""
    book = Book()
    role = identity_in({"account_id": "123456789012", "arn": "arn:aws:sts::123456789012:assumed-role/claude/me"})
    book.journal.served(book.now(), "work", "f1", 60, CLAUDE, identity=role)
    book.journal.served(book.now(), "work", "f2", 60, CLAUDE, identity=identity_in({"path": "secret/claude"}))
    assert [line.get("identity") for line in book.lines] == [
        "arn:aws:sts::123456789012:assumed-role/claude/me",
        None,
    ]


def test_the_memory_of_recipients_is_bounded() -> None:
    """What is forgotten costs one more line, when it asks again."""
    book = Book()
    for number in range(RECIPIENTS_MAX + 1):
        book.serve(replace(CLAUDE, session=number))
    book.lines.clear()
    book.serve(replace(CLAUDE, session=1), replace(CLAUDE, session=0))
    assert [line.get("session", 0) for line in book.lines] == [0]


def test_a_refusal_that_repeats_itself_is_one_line() -> None:
    """Claude Code tries again a dozen times, its status line for ever."""
    book = Book()
    refused = Event("refused", "work", 0.0, reason="not there", who=CLAUDE)
    for _ in range(12):
        book.journal.hear(refused)
    book.journal.hear(replace(refused, reason="nor there"))
    book.mono = REPEAT_S
    book.journal.hear(refused)
    assert [(line["reason"], line.get("times")) for line in book.lines] == [
        ("not there", None),
        ("nor there", None),
        ("not there", 12),
    ]


def _lineage(*names: str, claude: int | None = None) -> Lineage:
    chain = tuple(Process(100 + n, 101 + n, 5, name) for n, name in enumerate(names))
    return Lineage(FakePlatform().environment, None, chain, chain[claude] if claude is not None else None)


def test_who_is_behind_an_ask_is_told_by_its_ancestry() -> None:
    """Its own program, the Claude Code above it if any, and whether it certainly is that one's helper."""
    peer = Peer(uid=1000, pid=100)
    below = _lineage("broker-helper", "sh", "claude", claude=2)
    assert who_is(peer, below, Session(102, 5)) == Who(100, "broker-helper", 102, "helper", 5)
    assert who_is(peer, below, None) == Who(100, "broker-helper", 102, "child", 5)
    own = Peer(uid=1000, pid=os.getpid())
    assert who_is(own, _lineage("broker", "bash"), None) == Who(os.getpid(), "broker", within=os.getsid(0))
    gone = Peer(uid=1000, pid=2**22 + 1)
    assert who_is(gone, _lineage("broker"), None).within == 0
    assert who_is(Peer(uid=1000, pid=0), _lineage(), None) == Who(0, "")


# --- through the broker ---------------------------------------------------------------------------------------------


@in_virtual_time
async def test_the_trail_names_the_session_that_is_served() -> None:
    """And a caller that the kernel does not name, as one."""
    world = World()
    await world.token(caller=HELPER)
    await world.token(caller=PERSON)
    helper, person = world.audited("served")
    assert (helper["pid"], helper["program"], helper["session"], helper["role"]) == (30, "broker-helper", 10, "helper")
    assert (person["pid"], person["program"], person["role"]) == (0, "", "other")
    assert helper["fingerprint"] == world.audited("issued")[0]["fingerprint"]


class Keys(ScriptedFetcher):
    """A source whose every answer has two parts."""

    async def fetch(self) -> Issued:
        """Give the keys of a session."""
        (secret,) = (await super().fetch()).parts.values()
        return Issued({"access_key_id": secret, "secret_access_key": secret}, kind=Kind.AWS_SESSION)


@in_virtual_time
async def test_what_could_not_be_handed_out_is_not_called_served() -> None:
    """Keys of several parts, asked for as a single token."""
    world = World(fetcher_type=Keys)
    with pytest.raises(BadRequest, match="work is of kind aws-session, not a single token; see: broker export work"):
        await world.broker.token("work", 300, 9, PERSON, single=True)
    assert world.audited("served") == []
    await world.broker.token("work", 300, 9, PERSON)
    assert len(world.audited("served")) == 1


@in_virtual_time
async def test_a_tool_of_claude_codes_is_not_passed_off_as_its_helper() -> None:
    """By the mark in its environment, however it was started."""
    world = World()
    world.platform.environ[30] = "CLAUDECODE"
    await world.token(caller=HELPER)
    assert [line["role"] for line in world.audited("served")] == ["child"]


@in_virtual_time
async def test_who_reports_a_refused_token_is_named() -> None:
    """The session that asked again early, or the program that said so."""
    world = World()
    await world.token(caller=HELPER)
    await asyncio.sleep(1)
    await world.token(caller=HELPER)
    keeper = world.broker.keeper("work")
    assert keeper.life.held is not None
    await asyncio.sleep(20)
    keeper.rejected(keeper.fingerprint(keeper.life.held), "reported: 401", world.broker.admission.who(PERSON))
    early, reported = world.audited("rejected")
    assert (early["reason"], early["session"], early["pid"]) == ("asked again early", 10, 30)
    assert (reported["reason"], reported["pid"], "session" in reported) == ("reported: 401", 0, False)


class RefusingGuard(Guard):
    """A guard that lets nobody pass."""

    def __init__(self) -> None:
        """Look at nothing."""

    async def check(self, *_: object, **__: object) -> None:
        """Refuse."""
        raise Refused("settings.json steers elsewhere")


@in_virtual_time
async def test_what_the_guard_refuses_is_in_the_trail() -> None:
    """With who asked and why; nothing is said to be served."""
    world = World()
    world.broker.admission._guard = RefusingGuard()
    for _ in range(3):
        with pytest.raises(Refused):
            await world.token(caller=HELPER)
    (refused,) = world.audited("refused")
    assert (refused["credential"], refused["session"], refused["reason"]) == (
        "work",
        10,
        "settings.json steers elsewhere",
    )
    assert world.audited("served") == []


@in_virtual_time
async def test_another_users_process_is_in_the_trail() -> None:
    """Once, however often it knocks."""
    world = World()
    for _ in range(5):
        world.broker.admission.turned_away(Peer(uid=4711, pid=77))
    (refused,) = world.audited("refused")
    assert (refused["pid"], refused["reason"]) == (77, "uid 4711 is another user")


@in_virtual_time
async def test_an_ancestry_too_deep_is_a_stranger_with_a_pid(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused; who only reports something is still noted."""
    world = World()

    def too_deep(_pid: int) -> Lineage:
        raise Refused("too deep")

    monkeypatch.setattr(world.broker.admission._ancestors, "of", too_deep)
    assert world.broker.admission.who(HELPER) == Who(30, "")
    with pytest.raises(Refused):
        await world.token(caller=Caller(Peer(uid=1000, pid=30)))
    assert [line["pid"] for line in world.audited("refused")] == [30]


@in_virtual_time
async def test_everything_that_happens_to_a_credential_is_in_the_trail() -> None:
    """Issued, failed, refreshed, locked, unlocked: in order, none twice."""
    failure = Step(error=PermanentFetchError("denied"))
    world = World(Step(lifetime_s=3600.0), failure, Step(text="fake-token-2"), names=("work",))
    await world.token()
    for _ in range(2):
        await asyncio.sleep(60)
        await world.broker.keeper("work").refresh()
    await world.broker.safe.lock("a person said so")
    await world.broker.safe.unlock()
    events = [line["event"] for line in world.audit]
    assert events == ["issued", "served", "failed", "refreshed", "locked", "unlocked"]
