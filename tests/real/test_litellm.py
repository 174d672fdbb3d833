"""What a company with a LiteLLM proxy can rely on: real LiteLLM, real Claude Code, keys that live for seconds.

LiteLLM makes keys only with a database whose client needs a program that no package registry has: a fake makes them
(tests/fakes/litellm.py), and the real proxy asks it which are good.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Final

import pytest

from tests import setup_claude_code
from tests.fakes.google import fake_google
from tests.fakes.handed_key import hand_key
from tests.fakes.litellm import MASTER_KEY, FakeLiteLLM
from tests.real import bedrock, litellm, upstream, vertex
from tests.real.bedrock import Bedrock
from tests.real.claude import Answer, Claude
from tests.real.conftest import Need
from tests.real.installed import BROKER, Place, running
from tests.real.litellm import LiteLLM
from tests.real.process import wait_until
from tests.real.tunnel import tunnel
from tests.real.upstream import ANSWER, Upstream
from tests.real.vertex import Vertex
from tests.setup_claude_code import NEWER

pytestmark = [pytest.mark.real, pytest.mark.slow]

PONG: Final = Answer(ANSWER, failed=False)
LIFETIME_S: Final = 10
TTL_S: Final = 2
LASTING_S: Final = float(os.environ.get("LITELLM_LASTING_S", "12"))
"""How long prompts go on; `LITELLM_LASTING_S=60` is the long form."""

EVERY_S: Final = 0.7
FORMS: Final = {
    "anthropic": (),
    "bedrock": ("--region", bedrock.REGION),
    "vertex": ("--project", vertex.PROJECT, "--region", vertex.REGION),
}
"""What LiteLLM passes on, and what `broker setup` wants to know for it."""


@dataclass(frozen=True, slots=True)
class Company:
    """The proxy, and the three upstreams that it signs in to by its own credentials."""

    proxy: LiteLLM
    anthropic: Upstream
    bedrock: Bedrock
    vertex: Vertex

    @property
    def keys(self) -> FakeLiteLLM:
        """The store of the keys."""
        return self.proxy.keys

    def prompts(self) -> dict[str, int]:
        """Count what reached each upstream in good order."""
        return {name: len(getattr(self, name).seen) - len(getattr(self, name).refused) for name in FORMS}


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory, need: Need) -> Iterator[Company]:
    """Run LiteLLM, which takes its time, once for all."""
    need(litellm.available(), "LiteLLM is missing")
    folder = tmp_path_factory.mktemp("litellm")
    with ExitStack() as stack:
        google = stack.enter_context(fake_google())
        anthropic = stack.enter_context(upstream.serving())
        aws = stack.enter_context(bedrock.serving())
        vertex_ai = stack.enter_context(vertex.serving(lambda token: token in google.tokens))
        led = stack.enter_context(tunnel(f"{vertex.REGION}-aiplatform.googleapis.com", vertex_ai.url, folder))
        account = folder / "account.json"
        account.write_text(json.dumps(google.service_account()))
        keys = aws.mint()
        env = {
            "ANTHROPIC_API_BASE": anthropic.url,
            "ANTHROPIC_API_KEY": anthropic.mint.mint().text,
            "AWS_ACCESS_KEY_ID": keys.access_key_id,
            "AWS_SECRET_ACCESS_KEY": keys.secret_access_key,
            "AWS_SESSION_TOKEN": keys.session_token,
            "AWS_REGION_NAME": bedrock.REGION,
            "AWS_BEDROCK_RUNTIME_ENDPOINT": aws.url,
            "DEFAULT_VERTEXAI_PROJECT": vertex.PROJECT,
            "DEFAULT_VERTEXAI_LOCATION": vertex.REGION,
            "DEFAULT_GOOGLE_APPLICATION_CREDENTIALS": str(account),
        }
        proxy = stack.enter_context(litellm.litellm(folder, env | led))
        yield Company(proxy, anthropic, aws, vertex_ai)


@pytest.fixture
def place(company: Company, place: Place) -> Place:
    """A place whose only credential is a key of the proxy's, and what was before is forgotten."""
    company.keys.made.clear()
    company.keys.accepted.clear()
    place.configure(config(company))
    return place


def config(company: Company, duration: str = f"{LIFETIME_S}s") -> str:
    """Write the config; keys are made beside the proxy, so the credential has to be told where it is good."""
    return f"""
[sources.proxy]
type = "litellm"
base_url = "{company.keys.url}"
master_key = {{ env = "FAKE_MASTER_KEY" }}

[credentials.work]
source = "proxy"
duration = "{duration}"
key_alias = "laptop"
min_validity = "4s"
audience = ["{company.proxy.url}"]
"""


def environment(place: Place) -> dict[str, str]:
    """Give the daemon the master key, and a key of the service manager's to keep tokens by."""
    return hand_key(place.folder) | {"FAKE_MASTER_KEY": MASTER_KEY}


def developer(place: Place, form: str, need: Need) -> Claude:
    """Settle a developer whose Claude Code knows nothing of us yet."""
    binary = setup_claude_code.binary(NEWER)
    need(binary.exists(), f"Claude Code {NEWER} is missing")
    made = Claude.settle(binary, place.folder / form, settings={}, upstream_url="", env=place.env)
    return replace(made, env={name: value for name, value in made.env.items() if name != "ANTHROPIC_BASE_URL"})


def set_up(claude: Claude, company: Company, form: str) -> subprocess.CompletedProcess[str]:
    """Type `broker setup claude-code --provider litellm ...`."""
    proxy = ("--provider", "litellm", "--base-url", company.proxy.url, "--upstream", form, *FORMS[form])
    asked = ("--credential", "work", *proxy, "--ttl", f"{TTL_S}s", "--yes")
    return claude.type(BROKER, "setup", "claude-code", *asked)


def test_no_prompt_fails_while_keys_of_seconds_are_replaced(company: Company, place: Place, need: Need) -> None:
    """Through each of the proxy's three forms at once; no dead key ever arrives, and none is left over in the end."""
    claudes = {form: developer(place, form, need) for form in FORMS}
    said = 0
    with ExitStack() as stack:
        stack.enter_context(running(place, env=environment(place)))
        for form, claude in claudes.items():
            done = set_up(claude, company, form)
            assert (done.returncode, done.stderr) == (0, ""), form
        sessions = {form: stack.enter_context(claude.session()) for form, claude in claudes.items()}
        started = time.monotonic()
        while (began := time.monotonic()) < started + LASTING_S:
            for session in sessions.values():
                session.say("say pong")
            assert {form: session.answer() for form, session in sessions.items()} == dict.fromkeys(FORMS, PONG)
            said += 1
            time.sleep(max(0.0, began + EVERY_S - time.monotonic()))  # the pace of the load
        wait_until(lambda: len(company.keys.alive) <= 1, "every replaced key is deleted, or dead")
    assert company.keys.refused == []
    assert all(count >= said for count in company.prompts().values()), company.prompts()
    assert LASTING_S / LIFETIME_S <= len(company.keys.made) <= (time.monotonic() - started) / 2
    assert all(made.wish["key_alias"].startswith("laptop-") for made in company.keys.made)


def test_a_restart_fails_no_session_and_leaves_the_one_key_that_it_goes_on_with(
    company: Company, place: Place, need: Need
) -> None:
    """A replaced key is deleted with the daemon; who still has it is refused once, asks, and gets the live one."""
    place.configure(config(company, "10m"))
    claude = developer(place, "anthropic", need)
    with running(place, env=environment(place)) as first:
        assert set_up(claude, company, "anthropic").returncode == 0
        with claude.session() as session:
            assert session.ask("say pong") == PONG
            assert place.call("POST", "/v1/refresh", {"credential": "work"})[0] == 200
            old, live = (made.key for made in company.keys.made)
            assert company.keys.alive == [old, live]
            first.stop()
            assert company.keys.alive == [live]
            with running(place, env=environment(place)):
                assert session.ask("say pong") == PONG
                served = place.ask("work").stdout.strip()
                # Live, or its successor: 2.1.330 may ask twice about one refusal, and a new daemon does not know that.
                assert served in {made.key for made in company.keys.made[1:3]}
    assert len(company.keys.made) <= 3
    assert company.keys.alive == [served]
