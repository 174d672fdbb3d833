"""Two keys as one, with the real Claude Code: what a developer notices when one of them ends."""

from __future__ import annotations

import time

import pytest

from tests.real.claude import Answer
from tests.real.conftest import Developer
from tests.real.installed import Place, running
from tests.real.process import wait_until
from tests.real.upstream import ANSWER, Upstream
from tests.setup_claude_code import NEWER, OLDER

pytestmark = pytest.mark.real

PONG = Answer(ANSWER, failed=False)
TTL_S = 3
ONE, TWO = "fake-token-1", "fake-token-2"


@pytest.fixture
def keys(place: Place, upstream: Upstream) -> str:
    """Give the config of a developer with two keys of two organisations, each in a file."""
    members = []
    for name in ("one", "two"):
        path = place.folder / f"{name}.key"
        path.write_text(upstream.mint.mint().text)
        path.chmod(0o600)
        members.append(f'[credentials.{name}]\nsource = "file"\npath = "{path}"\n')
    pool = '[sources.keys]\ntype = "pool"\nmembers = ["one", "two"]\n'
    work = f'[credentials.work]\nsource = "keys"\naudience = ["{upstream.url}"]\n'
    return "".join(members) + pool + work


def keys_seen(upstream: Upstream) -> list[str]:
    """Return the keys of all prompts that were answered."""
    return [seen.key for seen in upstream.seen if seen.status == 200]


@pytest.mark.parametrize("version", [OLDER, NEWER])
def test_a_prompt_whose_key_is_revoked_succeeds_with_the_other_one(
    version: str, keys: str, developer: Developer, upstream: Upstream, place: Place
) -> None:
    """The very same prompt; the session stays there, and who comes later does not meet the dead key at all."""
    place.configure(keys)
    claude = developer(version)
    with running(place), claude.session() as session:
        assert session.ask("say pong") == PONG
        upstream.mint.revoke(ONE)
        assert [session.ask("say pong"), session.ask("say pong")] == [PONG, PONG]
        assert claude.ask("say pong") == PONG
        first = place.credential("work")["details"]["members"][0]
    assert [seen.key for seen in upstream.refused] == [ONE]
    assert keys_seen(upstream) == [ONE, TWO, TWO, TWO]
    assert (first["name"], first["why"]) == ("one", "upstream refused it")


def test_each_session_stays_with_its_key_until_upstream_limits_it(
    keys: str, developer: Developer, upstream: Upstream, place: Place
) -> None:
    """Also beyond its TTL; a 429 that was reported moves it at its next ask, as Claude Code tells the helper nothing."""
    place.configure(keys.replace('"two"]', '"two"]\nstrategy = "round-robin"'))
    claude = developer(NEWER, ttl_s=TTL_S)
    with running(place), claude.session() as first, claude.session() as second:
        for session in (first, second):
            assert session.ask("say pong") == PONG
        assert sorted(keys_seen(upstream)) == [ONE, TWO]
        mine, other = keys_seen(upstream)
        limited = next(m for m in place.credential("work")["details"]["members"] if m["name"] == named(mine))
        pass_the_ttl(upstream)
        for session in (first, second, first, second):
            assert session.ask("say pong") == PONG
        assert keys_seen(upstream)[2:] == [mine, other, mine, other]
        body = {"credential": "work", "fingerprint": limited["fingerprint"], "status": 429, "retry_after_s": 600}
        assert place.call("POST", "/v1/rejected", body)[0] == 200
        pass_the_ttl(upstream)
        assert first.ask("say pong") == PONG  # the old key is sent once more, while the helper is asked
        wait_until(lambda: first.ask("say pong") == PONG and keys_seen(upstream)[-1] == other, "it has the other key")
    assert upstream.refused == []


def named(key: str) -> str:
    """Return the member whose key that is."""
    return {ONE: "one", TWO: "two"}[key]


def pass_the_ttl(upstream: Upstream) -> None:
    """Wait until what the sessions have is to be asked for anew."""
    last = upstream.seen[-1].at
    wait_until(lambda: time.time() > last + TTL_S + 0.2, "the TTL is over")
