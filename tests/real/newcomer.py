"""A developer whose Claude Code knows nothing of us yet, and who sets it up by one command."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from tests import setup_claude_code
from tests.real.claude import Answer, Claude, Session
from tests.real.conftest import Need
from tests.real.installed import BROKER, Place
from tests.real.upstream import ANSWER

PONG: Final = Answer(ANSWER, failed=False)

Which = tuple[str, str]
"""The version of a Claude Code, and the way that it takes to a model."""


def newcomer(which: Which, place: Place, need: Need) -> Claude:
    """Settle one; the environment names neither provider nor address."""
    binary = setup_claude_code.binary(which[0])
    need(binary.exists(), f"Claude Code {which[0]} is missing")
    made = Claude.settle(binary, place.folder / "-".join(which), settings={}, upstream_url="", env=place.env)
    return replace(made, env={name: value for name, value in made.env.items() if name != "ANTHROPIC_BASE_URL"})


def setup(claude: Claude, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Type `broker setup claude-code ...` in the developer's project."""
    return claude.type(BROKER, "setup", "claude-code", *arguments)


def asked(sessions: Mapping[Which, Session]) -> dict[Which, Answer]:
    """Prompt all of them at once."""
    for session in sessions.values():
        session.say("say pong")
    return {which: session.answer() for which, session in sessions.items()}
