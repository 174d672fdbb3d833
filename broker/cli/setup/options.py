"""What a person says to `broker setup claude-code` about how Claude Code is to reach a model."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import click

from broker import durations
from broker.cli.arguments import CREDENTIAL
from broker.errors import BadRequest
from broker.integrations.claude_code.settings import TTL_MIN_S

PROVIDERS: Final = ("anthropic", "bedrock", "vertex", "litellm")
VIAS: Final = ("export", "endpoint", "bearer", "helper", "metadata")
UPSTREAMS: Final = ("anthropic", "bedrock", "vertex")

_PLACE: Final = re.compile(
    r"[a-z0-9](?:[a-z0-9.:-]{0,61}[a-z0-9])?", re.ASCII
)  # as `routes.PLACE`, not loaded for --help
_MODEL: Final = re.compile(r"[\w.:/@\[\]-]{1,256}", re.ASCII)
_HEADER: Final = re.compile(
    r"(?P<name>[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}):[ \t]*(?P<value>[\x20-\x7e]{1,4096})", re.ASCII
)
_SECRET_NAME: Final = re.compile(r"auth|key|token|secret|cookie|passw|credential|session", re.IGNORECASE)
_SECRET_VALUE: Final = re.compile(
    r"\b(?:bearer |basic |sk-|eyJ|A[KS]IA[0-9A-Z]{12}|bedrock-api-key-|ya29\.|gh[pousr]_|xox[a-z]-)", re.IGNORECASE
)

Command = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """The options that say what Claude Code is to use; None or empty where a person left it to us. `ttl` in seconds."""

    credential: str | None = None
    provider: str = "anthropic"
    via: str | None = None
    upstream: str | None = None
    base_url: str | None = None
    region: str | None = None
    project: str | None = None
    ttl: float | None = None
    model: str | None = None
    small_fast_model: str | None = None
    header: tuple[str, ...] = ()

    def variables(self) -> dict[str, str]:
        """Give the variables that are set whatever the way. Raises `BadRequest`, which quotes no header's value."""
        found = {"ANTHROPIC_MODEL": self.model, "ANTHROPIC_SMALL_FAST_MODEL": self.small_fast_model}
        headers = "\n".join(_header(line) for line in self.header)
        return {name: text for name, text in (found | {"ANTHROPIC_CUSTOM_HEADERS": headers}).items() if text}


def _seconds(_ctx: click.Context, _param: click.Parameter, value: str) -> float | None:
    """Read `--ttl`: seconds, None for `auto`."""
    if value == "auto":
        return None
    try:
        seconds = durations.parse(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if seconds < TTL_MIN_S:
        # Its early ask after a refusal, a second later, could not be told from an ordinary one.
        raise click.BadParameter("at least 2s: below that nobody can tell when Claude Code's token was refused")
    return seconds


def _matching(
    pattern: re.Pattern[str], example: str
) -> Callable[[click.Context, click.Parameter, str | None], str | None]:
    def check(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
        if value is not None and not pattern.fullmatch(value):
            raise click.BadParameter(f"expected such as {example}")
        return value

    return check


def _header(line: str) -> str:
    """Check one custom header: the settings are a plain file, which secrets have no place in."""
    found = _HEADER.fullmatch(line)
    if found is None:
        raise BadRequest("--header: expected 'Name: value' in printable ASCII")
    if _SECRET_NAME.search(found["name"]) or _SECRET_VALUE.search(found["value"]):
        raise BadRequest(
            f"--header: {found['name']} looks like a secret, and settings are a plain file; the helper gives the key"
        )
    return f"{found['name']}: {found['value']}"


_OPTIONS: Final = (
    click.option(
        "--credential", metavar="NAME", type=CREDENTIAL, help="Which credential; the default one if not given."
    ),
    click.option("--provider", type=click.Choice(PROVIDERS), default="anthropic", show_default=True),
    click.option("--via", type=click.Choice(VIAS), help="How requests get their credential; see above."),
    click.option(
        "--upstream", type=click.Choice(UPSTREAMS), help="Whose API LiteLLM passes on; anthropic if not given."
    ),
    click.option(
        "--base-url", metavar="URL", help="Where Claude Code sends requests; the credential is released for it."
    ),
    click.option(
        "--region",
        metavar="REGION",
        callback=_matching(_PLACE, "us-east-1"),
        help="Of the models, at Bedrock or Vertex.",
    ),
    click.option(
        "--project",
        metavar="PROJECT_ID",
        callback=_matching(_PLACE, "my-project-1"),
        help="The Google Cloud project that Vertex bills.",
    ),
    click.option(
        "--ttl",
        metavar="auto|DURATION",
        callback=_seconds,
        default="auto",
        help="How long Claude Code keeps a token: auto, or 90s, 15m, ...",
    ),
    click.option(
        "--model", metavar="MODEL", callback=_matching(_MODEL, "claude-sonnet-4-5"), help="Sets ANTHROPIC_MODEL."
    ),
    click.option(
        "--small-fast-model",
        metavar="MODEL",
        callback=_matching(_MODEL, "claude-haiku-4-5"),
        help="Sets ANTHROPIC_SMALL_FAST_MODEL.",
    ),
    click.option(
        "--header", metavar="'NAME: VALUE'", multiple=True, help="Adds to ANTHROPIC_CUSTOM_HEADERS; no secrets."
    ),
)


def options(command: Command) -> Command:
    """Give a command the options that become `Asked`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
