"""Who gets which member of a pool, when the test says what time it is and what upstream thinks."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.clock import Now
from broker.engine.callers import SESSIONS_MAX, Session
from broker.engine.pool import CALM_S, CAP_S, FIRST_S, RETRY_AFTER_MAX_S, Cause, Pool, Strategy

NAMES = ("a", "b", "c")
ONE, OTHER = Session(1, 1), Session(2, 2)
TOKEN = {"a": 0xA, "b": 0xB, "c": 0xC}


def at(mono: float) -> Now:
    """Make a moment."""
    return Now(1e9 + mono, mono)


def pool(strategy: Strategy = Strategy.FAILOVER) -> Pool:
    """Make one of three."""
    return Pool(NAMES, strategy)


def serve(of: Pool, mono: float, seat: Session | None = None) -> str:
    """Give the first one's token, as the daemon does where it has one."""
    name = of.order(mono, seat)[0]
    of.took(at(mono), name, seat)
    return name


# --- strategies ---------------------------------------------------------------------------------------------------


def test_failover_takes_the_first_healthy_one() -> None:
    """The next one only while the first rests."""
    of = pool()
    assert [serve(of, 0.0), serve(of, 0.0)] == ["a", "a"]
    of.refused(at(1), "a")
    assert of.order(1.0) == ["b", "c", "a"]
    assert of.order(1.0 + FIRST_S[Cause.REFUSED]) == ["a", "b", "c"]


def test_round_robin_gives_each_new_session_the_next() -> None:
    """And who has no session the next each time."""
    of = pool(Strategy.ROUND_ROBIN)
    assert [serve(of, 0.0, ONE), serve(of, 0.0, OTHER), serve(of, 0.0), serve(of, 0.0)] == ["a", "b", "c", "a"]


def test_least_recently_limited_takes_who_was_turned_away_longest_ago() -> None:
    """Who never was comes first."""
    of = pool(Strategy.LEAST_RECENTLY_LIMITED)
    for mono, name in ((0.0, "a"), (10.0, "b")):
        of.limited(at(mono), name, 1.0)
    assert of.order(100.0) == ["c", "a", "b"]


# --- sessions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", Strategy)
def test_a_session_stays_with_its_member_while_that_is_healthy(strategy: Strategy) -> None:
    """Its prompt cache lives there; also after another member is back."""
    of = pool(strategy)
    first = serve(of, 0.0, ONE)
    for mono in range(1, 50):
        serve(of, mono, OTHER if mono % 2 else None)
        assert serve(of, mono, ONE) == first
    of.limited(at(50), first, 10.0)
    second = serve(of, 51.0, ONE)
    assert second != first
    assert serve(of, 1000.0, ONE) == second


def test_a_session_is_forgotten_only_after_thousands_of_others() -> None:
    """The state stays small."""
    of = pool(Strategy.ROUND_ROBIN)
    serve(of, 0.0, ONE)
    for number in range(SESSIONS_MAX):
        serve(of, 0.0, Session(number, 77))
    assert serve(of, 0.0, ONE) == NAMES[(SESSIONS_MAX + 1) % 3]


def test_asking_again_early_tells_of_a_refusal() -> None:
    """Of the member that this session has; not before it was given anything, and not after its TTL."""
    of = pool()
    assert of.refused_by(at(0), ONE, TOKEN) is None
    of.took(at(0), "a", ONE)
    of.noted(at(0), ONE, TOKEN["a"], 300.0)
    assert of.refused_by(at(1), ONE, {"b": 1}) is None
    assert of.refused_by(at(1), OTHER, TOKEN) is None
    assert of.refused_by(at(1), ONE, TOKEN | {"a": 0xF}) is None, "there is a newer token already"
    assert of.refused_by(at(1), ONE, TOKEN) == "a"
    assert of.refused_by(at(300), ONE, TOKEN) is None


# --- rests --------------------------------------------------------------------------------------------------------


def test_upstream_says_how_long_to_rest() -> None:
    """Up to a day."""
    of = pool()
    assert of.limited(at(0), "a", 7.0)
    assert of.members["a"].rests_s(0.0) == 7.0
    of.limited(at(0), "b", 1e9)
    assert of.members["b"].rests_s(0.0) == RETRY_AFTER_MAX_S


@pytest.mark.parametrize("cause", Cause)
def test_rests_that_follow_on_each_other_grow_up_to_a_cap(cause: Cause) -> None:
    """And are short again after a while in health."""
    of, mono, lengths = pool(), 0.0, []
    for _ in range(30):
        of.took(at(mono), "a", None)
        assert of.limited(at(mono), "a", 0.0) if cause is Cause.LIMITED else of.refused(at(mono), "a")
        lengths.append(of.members["a"].rests_s(mono))
        mono += lengths[-1] + 1
    assert lengths[:3] == [FIRST_S[cause] * factor for factor in (1, 2, 4)]
    assert lengths[-1] == CAP_S[cause]
    of.refused(at(mono + CALM_S), "a")
    assert of.members["a"].rests_s(mono + CALM_S) == FIRST_S[Cause.REFUSED]


def test_ten_sessions_that_report_one_refusal_make_one_rest() -> None:
    """What they were given before it is the same news; a longer time that upstream names counts."""
    of = pool()
    of.took(at(0), "a", None)
    assert of.refused(at(1), "a")
    assert not any(of.refused(at(1 + number), "a") for number in range(10))
    assert of.members["a"].rests_s(11.0) == FIRST_S[Cause.REFUSED] - 10
    assert not of.limited(at(11), "a", 500.0)
    assert of.members["a"].rests_s(11.0) == 500.0
    assert of.rejections == 1


def test_a_resting_member_that_was_served_all_the_same_is_put_behind_the_others() -> None:
    """Where all rest, each gets its turn, and none is tried for ever."""
    of, seen = pool(), []
    for name in NAMES:
        of.refused(at(0), name)
    for mono in (1.0, 2.0, 3.0):
        seen.append(serve(of, mono))
        of.refused(at(mono), seen[-1])
    assert sorted(seen) == list(NAMES)


def test_who_is_limited_serves_before_who_was_refused() -> None:
    """Its token will do again by itself; and of several who is free soonest."""
    of = pool()
    of.refused(at(0), "a")
    of.limited(at(0), "b", 5000.0)
    of.limited(at(0), "c", 4000.0)
    assert of.order(0.0) == ["c", "b", "a"]


def test_who_has_no_token_comes_last() -> None:
    """Also where it is this session's own, and the others rest."""
    of = pool()
    of.took(at(0), "a", ONE)
    of.refused(at(0), "b")
    assert of.order(1.0, ONE, down=["a"]) == ["c", "b", "a"]


def test_a_new_token_ends_the_rest_of_one_that_was_refused() -> None:
    """Once: a source whose every token is refused is not believed again, until a person stores another key."""
    of = pool()
    of.refused(at(0), "a")
    of.renewed(at(1), "a", by_person=False)
    assert of.order(1.0)[0] == "a"
    of.took(at(2), "a", None)
    of.refused(at(2), "a")
    of.renewed(at(3), "a", by_person=False)
    assert of.order(3.0)[0] == "b"
    of.renewed(at(4), "a", by_person=True)
    assert of.order(4.0)[0] == "a"


def test_a_new_token_does_not_end_a_limit() -> None:
    """That is the account's."""
    of = pool()
    of.limited(at(0), "a", 100.0)
    of.renewed(at(1), "a", by_person=True)
    assert of.order(1.0)[0] == "b"


def test_a_person_ends_every_rest() -> None:
    """As if nothing had been."""
    of = pool()
    for name in NAMES:
        of.refused(at(0), name)
    of.forgive()
    assert of.order(1.0) == list(NAMES)
    of.refused(at(1), "a")
    assert of.members["a"].rests_s(1.0) == FIRST_S[Cause.REFUSED]


# --- a new config -------------------------------------------------------------------------------------------------


def test_a_new_config_keeps_what_is_known_of_members_that_stay() -> None:
    """Rests and seats; who left is given to nobody, whoever was asked meanwhile."""
    of = pool()
    of.took(at(0), "c", ONE)
    of.refused(at(0), "a")
    of.follow(["c", "a", "d"], Strategy.ROUND_ROBIN)
    assert of.order(1.0) == ["c", "d", "a"]
    of.follow(["a", "d"], Strategy.FAILOVER)
    assert of.order(1.0, ONE) == ["d", "a"]
    of.took(at(1), "c", None)
    assert of.served == 2


# --- whatever happens ---------------------------------------------------------------------------------------------

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["serve", "refused", "limited", "renewed", "forgive"]),
        st.sampled_from(NAMES),
        st.sampled_from([None, ONE, OTHER]),
        st.floats(0, 4000, allow_nan=False),
        st.sampled_from([0.0, 1.0, 60.0, 1e12]),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(Strategy), EVENTS)
def test_whatever_happens_every_member_can_be_had_and_no_rest_is_endless(
    strategy: Strategy, events: list[tuple[str, str, Session | None, float, float]]
) -> None:
    """Nobody is left out of the order, a healthy one comes before any that rests, and a healthy seat is kept."""
    of, mono = pool(strategy), 0.0
    seats: dict[Session, str] = {}
    for what, name, seat, later_s, retry_after_s in events:
        mono += later_s
        match what:
            case "serve":
                before = seats.get(seat) if seat is not None else None
                served = serve(of, mono, seat)
                if before is not None and of.members[before].rests_s(mono) == 0:
                    assert served == before
                if seat is not None:
                    seats[seat] = served
            case "refused":
                of.refused(at(mono), name)
            case "limited":
                of.limited(at(mono), name, retry_after_s)
            case "renewed":
                of.renewed(at(mono), name, by_person=seat is None)
            case _:
                of.forgive()
        order = of.order(mono)
        rests = [of.members[name].rests_s(mono) for name in order]
        assert sorted(order) == list(NAMES)
        assert [rest > 0 for rest in rests] == sorted(rest > 0 for rest in rests)
        assert all(rest <= RETRY_AFTER_MAX_S for rest in rests)
        assert not any(math.isnan(rest) for rest in rests)
