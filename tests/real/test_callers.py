"""Whoever else asks from inside Claude Code never makes the broker throw a good token away.

Each of them asks again long before the TTL is over, just as Claude Code does after a refusal; by their parents alone
status lines and hooks cannot be told from it.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.real.claude import Answer
from tests.real.conftest import Developer
from tests.real.installed import HELPER, Place
from tests.real.process import wait_until
from tests.real.terminal import interactive
from tests.real.upstream import ANSWER, TOOL_PREFIX, Upstream
from tests.setup_claude_code import VERSIONS

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("daemon"), pytest.mark.parametrize("version", VERSIONS)]

PONG = Answer(ANSWER, failed=False)
ASK = shlex.join([str(HELPER), "work"])
Check = Callable[[int], None]


@pytest.fixture
def only_asked(place: Place, upstream: Upstream) -> Check:
    """Give the check that there were at least so many asks, and that one token was enough for all of them."""

    def only_asked_(at_least: int) -> None:
        credential = place.credential("work")
        assert credential["served"] >= at_least
        assert (credential["refreshes"], credential["rejections"]) == (1, 0)
        assert upstream.mint.count == 1

    return only_asked_


def test_a_status_line_causes_no_refresh(
    version: str, developer: Developer, place: Place, upstream: Upstream, only_asked: Check
) -> None:
    """A status line whose whole command is the helper, in an interactive session."""
    status_line = {"type": "command", "command": ASK, "refreshInterval": 1}
    with interactive(developer(version, settings={"statusLine": status_line})) as terminal:
        wait_until(lambda: place.credential("work")["served"] >= 2, "Claude Code and its status line have asked")
        for number in range(3):
            arrived = partial(_has_seen, upstream, number + 1)
            terminal.type(f"prompt {number}", until=arrived, what="the prompt has reached the API")
        wait_until(lambda: place.credential("work")["served"] >= 5, "the status line has asked at every redraw")
    only_asked(5)


def test_hooks_cause_no_refresh(version: str, developer: Developer, only_asked: Check) -> None:
    """Hooks whose whole command is the helper, several at every prompt."""
    with developer(version, settings=_hooks(ASK, ASK, ASK)).session() as session:
        assert [session.ask("say pong"), session.ask("say pong")] == [PONG, PONG]
    only_asked(3)


def test_a_script_that_asks_every_300_ms_causes_no_refresh(
    version: str, developer: Developer, only_asked: Check
) -> None:
    """As some status lines do, for as long as they run."""
    loop = f"for n in 1 2 3 4 5; do {ASK} >/dev/null; sleep 0.3; done"
    with developer(version, settings=_hooks(loop)).session() as session:
        assert [session.ask("say pong"), session.ask("say pong")] == [PONG, PONG]
    only_asked(11)


def test_a_tool_causes_no_refresh(version: str, developer: Developer, only_asked: Check) -> None:
    """What Claude runs in its shell asks as the user does, and reports no refusal by asking twice."""
    with developer(version).session() as session:
        assert [session.ask(f"{TOOL_PREFIX}{ASK}") for _ in range(3)] == [PONG] * 3
    only_asked(4)


def test_a_nested_claude_code_causes_no_refresh(
    version: str, developer: Developer, upstream: Upstream, only_asked: Check
) -> None:
    """Claude Code started by Claude Code's shell is a session of its own."""
    claude = developer(version)
    nested = f"{shlex.quote(str(claude.binary))} -p 'say pong' </dev/null"
    with claude.session() as session:
        assert session.ask(f"{TOOL_PREFIX}{nested}; {nested}") == PONG
    assert len(upstream.seen) == 4, "two of the outer session, one of each nested one"
    only_asked(3)


def _has_seen(upstream: Upstream, requests: int) -> bool:
    return len(upstream.seen) >= requests


def _hooks(*commands: str) -> dict[str, Any]:
    each = [{"type": "command", "command": command} for command in commands]
    return {"hooks": {"UserPromptSubmit": [{"matcher": "", "hooks": each}]}}
