"""What Claude Code makes of a token by workload identity federation, by each way that it can have one of us."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests import setup_claude_code
from tests.fakes.anthropic import ORGANIZATION, RULE, fake_anthropic
from tests.real.claude import Answer, Claude
from tests.real.conftest import Need
from tests.real.installed import BROKER, HELPER, Place, running
from tests.real.mint import Minted
from tests.real.process import DEADLINE_S
from tests.real.upstream import ANSWER, Seen, Upstream
from tests.setup_claude_code import NEWER

pytestmark = pytest.mark.real

PONG = Answer(ANSWER, failed=False)
TOKEN = "sk-ant-oat01-fake-1"
BETA = "oauth-2025-04-20"


@pytest.fixture
def served(place: Place, upstream: Upstream) -> Iterator[Place]:
    """Run a daemon that exchanges what a company's command prints; the upstream takes its first token."""
    upstream.mint.issued.append(Minted(TOKEN, time.time(), None))
    with fake_anthropic() as anthropic:
        place.configure(f"""
[sources.federation]
type = "anthropic"
organization_id = "{ORGANIZATION}"
federation_rule_id = "{RULE}"
base_url = "{anthropic.url}"

[credentials.jwt]
source = "command"
argv = ["/bin/sh", "-c", "echo fake-assertion-$$"]

[credentials.work]
source = "federation"
assertion = {{ credential = "jwt" }}
audience = ["{upstream.url}"]
""")
        with running(place):
            yield place


@pytest.fixture
def claude(served: Place, upstream: Upstream, need: Need) -> Claude:
    """Settle a developer whose Claude Code knows nothing of us yet."""
    binary = setup_claude_code.binary(NEWER)
    need(binary.exists(), f"Claude Code {NEWER} is missing")
    return Claude.settle(binary, served.folder / "claude", settings={}, upstream_url=upstream.url, env=served.env)


def broker(place: Place, *arguments: str) -> str:
    """Type a command."""
    command = [str(BROKER), *arguments]
    done = subprocess.run(
        command, env=place.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE_S, check=True
    )
    return done.stdout


def sent(upstream: Upstream) -> tuple[str, str, bool]:
    """Say how the last prompt carried its token: as a key, as a bearer, and with the beta header that goes with it."""
    seen: Seen = upstream.seen[-1]
    return seen.key, seen.authorization, BETA in seen.betas.split(",")


def test_a_federated_token_is_sent_right_by_a_profile_and_by_exec_and_not_by_the_helper(
    claude: Claude, served: Place, upstream: Upstream
) -> None:
    """The helper's value goes out as a key, and without the header: that is why the two other ways are there."""
    folder = Path(claude.env["HOME"]) / ".config" / "anthropic"
    for part, form in {"configs": "anthropic-profile", "credentials": "anthropic-credentials"}.items():
        (folder / part).mkdir(parents=True, mode=0o700)
        file = folder / part / "default.json"
        file.touch(mode=0o600)
        file.write_text(broker(served, "export", "work", "--format", form))
    assert claude.ask("say pong") == PONG
    assert sent(upstream) == ("", f"Bearer {TOKEN}", True)
    (folder / "configs" / "default.json").unlink()
    assert replace(claude, enter=(str(BROKER), "exec", "work", "--")).ask("say pong") == PONG
    assert sent(upstream) == ("", f"Bearer {TOKEN}", True)
    (claude.folder / "home" / ".claude" / "settings.json").write_text(f'{{"apiKeyHelper": "{HELPER} work"}}')
    assert claude.ask("say pong") == PONG
    assert sent(upstream) == (TOKEN, f"Bearer {TOKEN}", False)
