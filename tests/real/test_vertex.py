"""What a Vertex user can rely on who sets Claude Code up by `broker setup claude-code --provider vertex`."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.real import vertex
from tests.real.conftest import Need, minting_config
from tests.real.installed import Place, running
from tests.real.newcomer import PONG, asked, newcomer, setup
from tests.real.process import wait_until
from tests.real.upstream import Upstream
from tests.setup_claude_code import VERSIONS

pytestmark = pytest.mark.real

LIFETIME_S = 6.0


def test_a_session_outlives_its_token_by_the_helper(place: Place, upstream: Upstream, need: Need) -> None:
    """Prompts go on being answered when the first one's token has expired; the undo takes all back."""
    upstream.mint.lifetime_s = LIFETIME_S
    with vertex.serving(upstream.mint.accepts) as server, ExitStack() as stack:
        place.configure(
            minting_config(upstream).replace(f'audience = ["{upstream.url}"]', f'audience = ["{server.url}"]')
        )
        stack.enter_context(running(place))
        claudes = {which: newcomer(which, place, need) for which in ((version, "helper") for version in VERSIONS)}
        vertex_ = ("--provider", "vertex", "--project", vertex.PROJECT, "--region", vertex.REGION)
        for claude in claudes.values():
            done = setup(claude, "--credential", "work", *vertex_, "--base-url", server.base_url, "--yes")
            assert (done.returncode, done.stderr) == (0, "")
        sessions = {which: stack.enter_context(claude.session()) for which, claude in claudes.items()}
        assert asked(sessions) == dict.fromkeys(claudes, PONG)
        last = max(token.expires_at or 0.0 for token in upstream.mint.issued)
        wait_until(lambda: time.time() > last, "the tokens of these prompts have expired")
        assert asked(sessions) == dict.fromkeys(claudes, PONG)
        for claude in claudes.values():
            assert setup(claude, "--undo").returncode == 0
            assert json.loads((Path(claude.env["HOME"]) / ".claude" / "settings.json").read_text()) == {}
