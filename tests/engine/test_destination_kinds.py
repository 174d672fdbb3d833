"""What is asked for decides where it may be sent: keys of AWS's never go to Anthropic, whatever Claude Code is on."""

from __future__ import annotations

import json
from typing import Final

import pytest

from broker import audience
from broker.engine.destination import Allowed, Known, Pins, Refused, Scope, SettingsFile, Verdict, judge
from broker.engine.policy import Found, Shown, Surroundings, surroundings, verdict
from broker.model import Kind

FOLDER: Final = "/src/project"
PROJECT: Final = f"{FOLDER}/.claude/settings.json"
THIEF: Final = "https://thief.example"
BEDROCK: Final = {"CLAUDE_CODE_USE_BEDROCK": "1"}
VERTEX: Final = {"CLAUDE_CODE_USE_VERTEX": "1"}
NATIVE: Final = {
    Kind.AWS_SESSION: (BEDROCK, "https://bedrock-runtime.us-east-1.amazonaws.com"),
    Kind.BEDROCK_API_KEY: (BEDROCK, "https://bedrock-runtime.us-east-1.amazonaws.com"),
    Kind.ACCESS_TOKEN: (VERTEX, "https://us-east5-aiplatform.googleapis.com/v1"),
}
ELSEWHERE: Final = [
    {},
    {"ANTHROPIC_BASE_URL": "https://llm.corp.example"},
    {"CLAUDE_CODE_USE_BEDROCK": "0"},
    {"CLAUDE_CODE_USE_FOUNDRY": "1"},
]


def _file(path: str, env: dict[str, str], scope: Scope) -> SettingsFile:
    return SettingsFile.read(path, scope, json.dumps({"env": env}).encode())


def _judge(kind: Kind | None, started_with: dict[str, str], *files: SettingsFile, pins: Pins = frozenset()) -> Verdict:
    known = Known(FOLDER, files, initial=started_with)
    return judge(known, audience.default(kind or Kind.AWS_SESSION), pins, kind)


@pytest.mark.parametrize("kind", NATIVE)
def test_a_clouds_credential_goes_to_its_provider_by_default(kind: Kind) -> None:
    """Nobody has to write an audience for Claude Code on Bedrock or Vertex."""
    switch, url = NATIVE[kind]
    assert _judge(kind, switch) == Allowed((url,))


@pytest.mark.parametrize("kind", NATIVE)
@pytest.mark.parametrize("elsewhere", ELSEWHERE)
def test_on_another_provider_programs_may_use_it(kind: Kind, elsewhere: dict[str, str]) -> None:
    """`aws` in the Bash tool of a Claude Code that is on Anthropic's API: it sends its own requests, and no keys."""
    assert _judge(kind, elsewhere) == Allowed(())


@pytest.mark.parametrize("kind", NATIVE)
@pytest.mark.parametrize(
    "variable", ["AWS_ENDPOINT_URL", "HTTPS_PROXY", "NODE_OPTIONS", "ANTHROPIC_BASE_URL", "GCE_METADATA_HOST"]
)
def test_a_project_steers_nothing_all_the_same(kind: Kind, variable: str) -> None:
    """What goes elsewhere by a project's word is refused on every provider, and by whatever it is asked."""
    project = _file(PROJECT, {variable: THIEF}, Scope.PROJECT)
    for started_with in ({}, NATIVE[kind][0]):
        refused = _judge(kind, started_with, project)
        assert isinstance(refused, Refused)
        assert (refused.file, refused.key) == (PROJECT, f"env.{variable}")


@pytest.mark.parametrize("kind", NATIVE)
def test_a_project_cannot_switch_the_provider_on(kind: Kind) -> None:
    """Together with a base URL that would be the way to sign for somebody else."""
    project = _file(PROJECT, NATIVE[kind][0], Scope.PROJECT)
    assert isinstance(_judge(kind, {}, project), Refused)
    pins = frozenset({(PROJECT, project.sha256)})
    assert _judge(kind, {}, project, pins=pins) == Allowed((NATIVE[kind][1],)), "unless a person allowed it"


@pytest.mark.parametrize(
    ("kind", "url"),
    [
        (Kind.AWS_SESSION, "ANTHROPIC_BEDROCK_BASE_URL"),
        (Kind.BEDROCK_API_KEY, "ANTHROPIC_BEDROCK_BASE_URL"),
        (Kind.ACCESS_TOKEN, "ANTHROPIC_VERTEX_BASE_URL"),
    ],
)
def test_whoever_redirects_the_provider_it_must_be_within_the_audience(kind: Kind, url: str) -> None:
    """The user's own settings too."""
    refused = _judge(kind, NATIVE[kind][0], _file("/home/me/.claude/settings.json", {url: THIEF}, Scope.USER))
    assert isinstance(refused, Refused)
    assert refused.key == f"env.{url}"


@pytest.mark.parametrize("switch", ["CLAUDE_CODE_USE_ANTHROPIC_AWS", "CLAUDE_CODE_USE_MANTLE"])
def test_every_provider_that_signs_as_aws_does_counts(switch: str) -> None:
    """Where it goes by itself is not known from outside, so nothing is signed there without a word of the config's."""
    assert isinstance(_judge(Kind.AWS_SESSION, {switch: "1"}), Refused)


def test_a_provider_that_may_be_on_counts() -> None:
    """A file that only some versions read, or a switch whose value nobody knows."""
    said = {"CLAUDE_CODE_USE_BEDROCK": "perhaps", "ANTHROPIC_BEDROCK_BASE_URL": THIEF}
    assert isinstance(_judge(Kind.AWS_SESSION, said), Refused)


def test_an_id_token_is_sent_by_no_provider() -> None:
    """Programs get it for their own services; as Claude Code's key it goes nowhere without an audience."""
    assert _judge(Kind.ID_TOKEN, VERTEX) == Allowed(())
    assert isinstance(judge(Known(FOLDER, initial=VERTEX), audience.default(Kind.ID_TOKEN), frozenset()), Refused)


def _around(**started_with: str) -> Surroundings:
    raw = "".join(f"{name}={value}\0" for name, value in started_with.items()).encode()
    return surroundings(None, Shown(20, FOLDER, b"X=1\0"), Shown(10, FOLDER, raw), "/root")


@pytest.mark.parametrize("kind", [Kind.BEDROCK_API_KEY, Kind.ACCESS_TOKEN, Kind.ID_TOKEN])
def test_as_a_key_it_does_not_go_to_anthropic(kind: Kind) -> None:
    """The helper's text is sent to whichever provider Claude Code is on."""
    refused = verdict(_around(), Found(), (), kind)
    assert isinstance(refused, Refused)
    assert "https://api.anthropic.com" in refused.reason


@pytest.mark.parametrize("kind", [Kind.BEDROCK_API_KEY, Kind.ACCESS_TOKEN])
def test_as_a_key_it_goes_to_its_provider(kind: Kind) -> None:
    """By `apiKeyHelper`, with CLAUDE_CODE_SKIP_BEDROCK_AUTH or CLAUDE_CODE_SKIP_VERTEX_AUTH."""
    switch, url = NATIVE[kind]
    assert verdict(_around(**switch, CLAUDE_CODE_SKIP_AUTH="1"), Found(), (), kind) == Allowed((url,))


def test_an_aws_session_is_never_a_key() -> None:
    """It has no single text, however it is asked for."""
    for as_key in (True, False):
        assert verdict(_around(), Found(), (), Kind.AWS_SESSION, as_key=as_key) == Allowed(())


def test_an_api_key_goes_wherever_claude_code_is_on() -> None:
    """Whoever asks for it, in whatever way: all of it counts."""
    for as_key in (True, False):
        assert isinstance(verdict(_around(**BEDROCK), Found(), (), Kind.API_KEY, as_key=as_key), Refused)
        own = verdict(_around(), Found(), (), Kind.API_KEY, as_key=as_key)
        assert own == Allowed(("https://api.anthropic.com",))
