"""When an early ask tells that upstream refused a token, and when that is in doubt."""

from __future__ import annotations

import math

import pytest

from broker.clock import Now
from broker.engine.callers import SESSIONS_MAX, History, Session

ONE, OTHER = Session(pid=10, started=1), Session(pid=11, started=1)
TTL_S = 300.0


class Conversation:
    """A history, the moment it is at, and the serial of the token that would be given now."""

    def __init__(self) -> None:
        self.history = History()
        self.now = Now(1_800_000_000.0, 5000.0)
        self.serial = 1

    def after(self, seconds: float) -> Conversation:
        """Let time pass."""
        self.now = Now(self.now.wall + seconds, self.now.mono + seconds)
        return self

    def asks(self, session: Session = ONE, ttl_s: float = TTL_S) -> bool:
        """Let a session ask and be given the present token; return whether that told of a refusal."""
        refused = self.history.tells_refusal(self.now, session, self.serial)
        self.history.given(self.now, session, self.serial, ttl_s)
        return refused


def test_the_same_session_asking_again_early_was_refused() -> None:
    """Claude Code runs its helper before the TTL is over only because upstream refused the token."""
    chat = Conversation()
    assert not chat.asks()
    assert chat.after(20).asks()


def test_a_first_ask_tells_nothing() -> None:
    """Nor does that of a session whose pid belonged to another one before."""
    chat = Conversation()
    chat.asks()
    assert not chat.after(1).asks(Session(pid=ONE.pid, started=2))
    assert not chat.asks(OTHER)


@pytest.mark.parametrize(
    ("ttl_s", "after_s", "early"),
    [
        (300.0, 298.9, True),
        (300.0, 299.1, False),  # a second's slack: its clock and ours started at different moments
        (300.0, 300.0, False),
        (2.0, 1.85, True),
        (2.0, 1.95, False),  # the slack of short TTLs is a twentieth
        (0.0, 0.0, False),  # a TTL of nothing is over at once
        (1e9, 1e6, True),
    ],
)
def test_early_means_before_the_ttl_is_over(ttl_s: float, after_s: float, early: bool) -> None:  # noqa: FBT001  # a table's column
    """An ask at the TTL is the ordinary one."""
    chat = Conversation()
    chat.asks(ttl_s=ttl_s)
    assert chat.after(after_s).asks() is early


def test_each_answer_starts_the_ttl_anew() -> None:
    """A session that asks regularly, for hours, never tells of a refusal."""
    chat = Conversation()
    chat.asks()
    assert not any(chat.after(TTL_S).asks() for _ in range(50))


def test_a_session_that_would_get_a_newer_token_is_just_given_it() -> None:
    """What upstream refused is not what is in hand any more: nothing is fetched."""
    chat = Conversation()
    chat.asks()
    chat.serial = 2
    assert not chat.after(20).asks()


def test_ten_sessions_after_one_revocation_force_one_refresh() -> None:
    """The first one's early ask tells; the others get the new token."""
    chat = Conversation()
    sessions = [Session(pid, started=1) for pid in range(100, 110)]
    for session in sessions:
        chat.asks(session)
    chat.after(60)
    told = 0
    for session in sessions:
        refused = chat.history.tells_refusal(chat.now, session, chat.serial)
        if refused:
            told += 1
            chat.serial += 1
        chat.history.given(chat.now, session, chat.serial, TTL_S)
    assert told == 1


def test_after_a_pause_the_refusal_of_the_old_token_wastes_no_new_one() -> None:
    """2.1.330 after a pause: the helper is asked and gives T2, T1 is refused, the helper is asked again."""
    chat = Conversation()
    chat.asks()  # T1
    chat.serial = 2
    assert not chat.after(1200).asks()  # the prompt goes out with T1 while the helper gets T2
    assert not chat.after(1).asks(), "that 401 was about T1"
    assert chat.after(1).asks(), "the next one counts: T2 was tried and refused"


def test_the_doubt_lasts_ten_seconds() -> None:
    """Later, an early ask is about the token that the session really used."""
    chat = Conversation()
    chat.asks()
    chat.serial = 2
    chat.after(1200).asks()
    assert chat.after(10).asks()


def test_the_doubt_is_raised_anew_by_each_newer_token() -> None:
    """Refused, replaced, refused: every new token gets its second chance, once."""
    chat = Conversation()
    chat.asks()
    for _ in range(3):
        chat.serial += 1
        assert not chat.after(2).asks()
        assert not chat.after(2).asks()
        assert chat.after(2).asks()


def test_a_clock_set_forward_ends_the_ttl() -> None:
    """Claude Code measures by the time of day: after a jump it asks before its TTL is over by our clock."""
    chat = Conversation()
    chat.asks()
    chat.now = Now(chat.now.wall + 3600, chat.now.mono + 20)
    assert not chat.asks()


def test_a_clock_set_back_makes_no_ordinary_ask_early() -> None:
    """The time that passed counts, whatever the time of day says."""
    chat = Conversation()
    chat.asks()
    chat.now = Now(chat.now.wall - 3600, chat.now.mono + TTL_S)
    assert not chat.asks()


def test_as_many_sessions_are_remembered_as_fit() -> None:
    """The session that asked longest ago is forgotten first; a forgotten one is like a new one."""
    chat = Conversation()
    chat.asks(ONE)
    chat.asks(OTHER)
    chat.asks(ONE)
    for pid in range(1000, 1000 + SESSIONS_MAX - 1):
        chat.asks(Session(pid, started=1))
    assert not chat.after(1).asks(OTHER), "forgotten"
    assert chat.asks(Session(1000 + SESSIONS_MAX - 2, started=1))
    assert len(chat.history._given) == SESSIONS_MAX


EXPORTING = Session(pid=12, started=1, exports=True)


@pytest.mark.parametrize(
    ("remaining_s", "kept_s"),
    [(3600.0, 3240.0), (43_200.0, 42_840.0), (360.0, 0.0), (200.0, 0.0), (math.inf, 3240.0)],
)
def test_exported_keys_are_kept_until_shortly_before_their_end(remaining_s: float, kept_s: float) -> None:
    """Whatever the helper's TTL is; keys without an end are said to live an hour."""
    assert EXPORTING.keeps_s(TTL_S, remaining_s) == kept_s
    assert ONE.keeps_s(TTL_S, remaining_s) == TTL_S


def test_a_session_that_exports_twice_at_its_start_was_not_refused() -> None:
    """Nor one that asks again and again; after a pause it was."""
    chat = Conversation()
    chat.asks(EXPORTING)
    assert not any(chat.after(1.9).asks(EXPORTING) for _ in range(9))
    assert chat.after(2.1).asks(EXPORTING)
