"""Whoever else asks from inside Claude Code never makes the broker throw a good token away.

Each of them asks again long before the TTL is over, just as Claude Code does after a refusal; by their parents alone
status lines and hooks cannot be told from it (FACTS).
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts the successful asks of a shell command."""

    file: Path

    @property
    def command(self) -> str:
        """The shell command: asks once."""
        return f"{HELPER} work >/dev/null && echo asked >> {shlex.quote(str(self.file))}"

    @property
    def count(self) -> int:
        """How often it has got a token."""
        return len(self.file.read_text().splitlines()) if self.file.exists() else 0


@pytest.fixture
def tally(place: Place) -> Tally:
    """A shell command that asks, and its count."""
    return Tally(place.folder / "tally")


@pytest.fixture
def nothing_was_refreshed(place: Place, upstream: Upstream) -> Callable[[], None]:
    """Give the check that all these asks were answered from memory."""

    def check() -> None:
        credential = place.credential("work")
        assert (credential["refreshes"], credential["rejections"]) == (1, 0)
        assert upstream.mint.count == 1

    return check


def test_a_status_line_causes_no_refresh(
    version: str,
    developer: Developer,
    tally: Tally,
    upstream: Upstream,
    nothing_was_refreshed: Callable[[], None],
) -> None:
    """A status line that asks at every redraw of an interactive session."""
    status_line = {"type": "command", "command": f"{tally.command}; echo drawn", "refreshInterval": 1}
    with interactive(developer(version, settings={"statusLine": status_line})) as terminal:
        terminal.wait_for("drawn")
        for number in range(3):
            terminal.type(f"prompt {number}")
            wait_until(lambda: len(upstream.seen) > number, "the prompt has reached the API")  # noqa: B023  # runs now
        wait_until(lambda: tally.count >= 3, "the status line has asked three times")
    nothing_was_refreshed()


def test_a_hook_that_asks_every_300_ms_causes_no_refresh(
    version: str, developer: Developer, tally: Tally, nothing_was_refreshed: Callable[[], None]
) -> None:
    """A hook is started by `sh -c` like the helper, and may ask as often as it likes."""
    loop = f"for n in 1 2 3 4 5; do {tally.command}; sleep 0.3; done"
    hooks = {"UserPromptSubmit": [{"matcher": "", "hooks": [{"type": "command", "command": loop}]}]}
    with developer(version, settings={"hooks": hooks}).session() as session:
        assert [session.ask("say pong"), session.ask("say pong")] == [PONG, PONG]
    assert tally.count == 10
    nothing_was_refreshed()


def test_a_tool_causes_no_refresh(
    version: str, developer: Developer, tally: Tally, nothing_was_refreshed: Callable[[], None]
) -> None:
    """What Claude runs in its shell asks as the user does, and reports no refusal by asking twice."""
    with developer(version).session() as session:
        assert session.ask(f"{TOOL_PREFIX}{tally.command}; {tally.command}") == PONG
        assert session.ask(f"{TOOL_PREFIX}{tally.command}") == PONG
    assert tally.count == 3
    nothing_was_refreshed()


def test_a_nested_claude_code_causes_no_refresh(
    version: str, developer: Developer, upstream: Upstream, nothing_was_refreshed: Callable[[], None]
) -> None:
    """Claude Code started by Claude Code's shell is a session of its own."""
    claude = developer(version)
    nested = f"{shlex.quote(str(claude.binary))} -p 'say pong' </dev/null"
    with claude.session() as session:
        assert session.ask(f"{TOOL_PREFIX}{nested}; {nested}") == PONG
    assert len(upstream.seen) == 4, "two of the outer session, one of each nested one"
    nothing_was_refreshed()
