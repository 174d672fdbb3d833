"""What a Bedrock user can rely on who sets Claude Code up by `broker setup claude-code --provider bedrock`."""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from broker.engine.callers import BURST_S
from tests.fakes.handed_key import hand_key
from tests.real import mint
from tests.real.bedrock import REGION, Bedrock, serving
from tests.real.conftest import Need
from tests.real.installed import Place, running
from tests.real.newcomer import PONG, asked, newcomer, setup
from tests.real.process import wait_until
from tests.setup_claude_code import VERSIONS

pytestmark = pytest.mark.real

LIFETIME_S = 8.0
WAYS = {"export": "keys", "endpoint": "keys", "bearer": "bearer"}
"""Each way, and the credential that it takes."""


@pytest.fixture
def bedrock() -> Iterator[Bedrock]:
    """A Bedrock that takes no signature but those of its own sessions."""
    with serving() as server:
        server.lifetime_s = LIFETIME_S
        yield server


@pytest.fixture
def served(place: Place, bedrock: Bedrock) -> Iterator[Place]:
    """Run a daemon with a key at rest that has a session and an API key, both from a company's command."""
    place.configure(config(bedrock))
    with running(place, env=hand_key(place.folder)):
        yield place


def config(bedrock: Bedrock) -> str:
    """Write the config (TOML strings are JSON strings)."""
    argv = [sys.executable, str(Path(mint.__file__)), f"{bedrock.url}/mint"]
    common = f'source = "command"\nmin_validity = "1s"\nrefresh_interval_min = "1s"\naudience = ["{bedrock.url}"]\n'
    return f"""
[endpoints.aws]
listen = "127.0.0.1:0"
[credentials.keys]
argv = {json.dumps(argv)}
{common}
[credentials.bearer]
argv = {json.dumps([*argv[:-1], f"{bedrock.url}/mint-key"])}
{common}
"""


def test_a_session_outlives_its_keys_by_each_of_the_three_ways(served: Place, bedrock: Bedrock, need: Need) -> None:
    """Prompts go on being signed, by new keys, when those of the first have expired; the undo takes all back."""
    claudes = {which: newcomer(which, served, need) for which in itertools.product(VERSIONS, WAYS)}
    for (_, via), claude in claudes.items():
        bedrock_ = ("--provider", "bedrock", "--region", REGION, "--base-url", bedrock.url)
        done = setup(claude, "--credential", WAYS[via], "--via", via, *bedrock_, "--yes")
        assert (done.returncode, done.stderr) == (0, ""), via
    with ExitStack() as stack:
        sessions = {which: stack.enter_context(claude.session()) for which, claude in claudes.items()}
        assert asked(sessions) == dict.fromkeys(claudes, PONG)
        wait_until(bedrock.is_over, "the keys of these prompts have expired")
        assert asked(sessions) == dict.fromkeys(claudes, PONG)
    assert {request.by for request in bedrock.seen if not request.problem} == {"sigv4", "bearer"}
    for claude in claudes.values():
        assert setup(claude, "--undo").returncode == 0
        assert json.loads((Path(claude.env["HOME"]) / ".claude" / "settings.json").read_text()) == {}


def test_keys_that_aws_revoked_in_mid_session_are_renewed_at_once(served: Place, bedrock: Bedrock, need: Need) -> None:
    """The prompt that meets the revocation succeeds, in both versions, by one new session; starting asks for no other."""
    bedrock.lifetime_s = 3600.0
    claudes = {(version, "export"): newcomer((version, "export"), served, need) for version in VERSIONS}
    for claude in claudes.values():
        bedrock_ = ("--provider", "bedrock", "--region", REGION, "--base-url", bedrock.url)
        assert setup(claude, "--credential", "keys", *bedrock_, "--yes").returncode == 0
    with ExitStack() as stack:
        sessions = {which: stack.enter_context(claude.session()) for which, claude in claudes.items()}
        assert asked(sessions) == dict.fromkeys(claudes, PONG)
        started = time.monotonic()
        wait_until(lambda: time.monotonic() > started + BURST_S, "their start is over")
        assert asked(sessions) == dict.fromkeys(claudes, PONG)
        assert (len(bedrock.sessions), bedrock.refused) == (1, [])
        bedrock.revoke()
        assert asked(sessions) == dict.fromkeys(claudes, PONG)
        assert len(bedrock.sessions) == 2, "one new session for both"
        assert {request.problem for request in bedrock.refused} == {"UnrecognizedClientException"}
