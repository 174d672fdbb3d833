"""What a developer with the real Claude Code can rely on, whatever happens to the token meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.real.claude import Answer
from tests.real.conftest import Developer
from tests.real.installed import Daemon, Place
from tests.real.process import wait_until
from tests.real.upstream import ANSWER, Upstream
from tests.setup_claude_code import NEWER, VERSIONS

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("daemon")]

PONG = Answer(ANSWER, failed=False)
PAUSE_TTL_S = 3
"""Short to wait for, and above the second that Claude Code 2.1.330 takes before it asks again after a refusal."""

every_version = pytest.mark.parametrize("version", VERSIONS)


@every_version
def test_a_prompt_is_answered_with_the_token_that_the_command_printed(
    version: str, developer: Developer, upstream: Upstream
) -> None:
    """(a) The key goes from the company's command to the API, and nothing else needs to be set up."""
    assert developer(version).ask("say pong") == PONG
    assert {(seen.key, seen.authorization) for seen in upstream.seen} == {("fake-token-1", "Bearer fake-token-1")}
    assert upstream.mint.count == 1


@every_version
def test_a_token_revoked_in_mid_session_does_not_fail_the_prompt(
    version: str, developer: Developer, upstream: Upstream
) -> None:
    """(b) The same prompt that met the 401 succeeds, for the price of exactly one new token."""
    with developer(version).session() as session:
        assert session.ask("say pong") == PONG
        upstream.mint.revoke()
        assert session.ask("say pong") == PONG
    assert [seen.key for seen in upstream.refused] == ["fake-token-1"]
    assert upstream.mint.count == 2


@every_version
def test_ten_sessions_recover_from_one_revocation_with_one_new_token(
    version: str, developer: Developer, upstream: Upstream
) -> None:
    """(c) However many sessions meet the 401 at once, the source is asked once, and all of them go on."""
    claude = developer(version)
    with ExitStack() as stack:
        sessions = [stack.enter_context(claude.session()) for _ in range(10)]
        assert [session.ask("say pong") for session in sessions] == [PONG] * 10
        upstream.mint.revoke()
        for session in sessions:
            session.say("say pong")
        assert [session.answer() for session in sessions] == [PONG] * 10
    assert len(upstream.refused) == 10
    assert upstream.mint.count == 2


def test_a_403_is_mended_like_a_401_where_claude_code_asks_again(developer: Developer, upstream: Upstream) -> None:
    """Some gateways say 403 to an expired key; versions that run the helper then recover in the same prompt."""
    upstream.refusal = 403
    with developer(NEWER).session() as session:
        assert session.ask("say pong") == PONG
        upstream.mint.revoke()
        assert session.ask("say pong") == PONG
    assert [seen.status for seen in upstream.refused] == [403]
    assert upstream.mint.count == 2


@every_version
def test_after_a_pause_a_refused_token_costs_one_new_one(
    version: str, developer: Developer, upstream: Upstream
) -> None:
    """(e) The first prompt after a coffee break works, though the token was revoked during it."""
    with developer(version, ttl_s=PAUSE_TTL_S).session() as session:
        assert session.ask("say pong") == PONG
        upstream.mint.revoke()
        _pass_the_ttl(upstream, ttl_s=PAUSE_TTL_S)
        assert session.ask("say pong") == PONG
    assert upstream.mint.count == 2


@every_version
def test_after_a_pause_a_newer_token_is_not_wasted(
    version: str, developer: Developer, upstream: Upstream, place: Place
) -> None:
    """(e) Claude Code still sends the old token once and asks twice; the newer one that it has not tried is kept."""
    with developer(version, ttl_s=PAUSE_TTL_S).session() as session:
        assert session.ask("say pong") == PONG
        upstream.mint.revoke()
        assert place.call("POST", "/v1/refresh", {"credential": "work"})[0] == 200
        _pass_the_ttl(upstream, ttl_s=PAUSE_TTL_S)
        assert session.ask("say pong") == PONG
    assert upstream.mint.count == 2
    assert upstream.seen[-1].key == "fake-token-2"


@pytest.mark.slow
@every_version
def test_no_request_carries_an_expired_token(version: str, developer: Developer, upstream: Upstream) -> None:
    """(f) With tokens that live 8 s, half a minute of steady prompts never meets a refusal."""
    upstream.mint.lifetime_s = 8
    with developer(version, ttl_s=2).session() as session:
        for _ in _every(0.5, for_s=30):
            assert session.ask("say pong") == PONG
    assert upstream.refused == []
    assert len(upstream.seen) >= 60
    assert 4 <= upstream.mint.count <= 15, "renewed ahead of time, and not in a hot loop"


def test_a_daemon_that_was_killed_and_started_again_is_not_noticed(
    developer: Developer, upstream: Upstream, daemon: Daemon
) -> None:
    """A session outlives its daemon: what it holds still works while there is none."""
    with developer(NEWER).session() as session:
        assert session.ask("say pong") == PONG
        daemon.kill()
        assert session.ask("say pong") == PONG
    assert upstream.mint.count == 1


def _pass_the_ttl(upstream: Upstream, *, ttl_s: float) -> None:
    last = upstream.seen[-1].at
    wait_until(lambda: time.time() > last + ttl_s + 0.2, "the TTL is over")


def _every(step_s: float, *, for_s: float) -> Iterator[None]:
    """Give the pace of a steady load: yields on time, `for_s / step_s` times."""
    start = time.monotonic()
    for number in range(round(for_s / step_s) + 1):
        time.sleep(max(0.0, start + number * step_s - time.monotonic()))
        yield
