"""To which base URLs Claude Code may send its requests, by provider (names from the package's own text)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from broker.engine.destination.layers import ABSENT, Layers, Value
from broker.model import Kind

_OFF: Final = frozenset({ABSENT, "0", "false", "no", "off"})
_ON: Final = frozenset({"1", "true", "yes", "on"})
_REGION: Final = re.compile(r"[a-z0-9-]{0,40}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Provider:
    """A way for Claude Code to reach a model.

    `switch` is the variable that turns it on, `url` the one that redirects it. `own` says where it goes otherwise by
    its region, None where that cannot be known from outside; the region is in the first variable of `part` that is
    set, else it is `usual`. `takes`: what it authenticates by beside an API key, got by Claude Code itself.
    """

    switch: str
    url: str
    own: Callable[[str], str] | None = None
    part: tuple[str, ...] = ()
    usual: str = ""
    takes: frozenset[Kind] = frozenset()


_AWS: Final = frozenset({Kind.AWS_SESSION, Kind.BEDROCK_API_KEY})
_GOOGLE: Final = frozenset({Kind.ACCESS_TOKEN})


def _vertex(region: str) -> str:
    match region:
        case "global":
            return "https://aiplatform.googleapis.com/v1"
        case "us" | "eu":
            return f"https://aiplatform.{region}.rep.googleapis.com/v1"
    return f"https://{region}-aiplatform.googleapis.com/v1"


FIRST_PARTY: Final = Provider("", "ANTHROPIC_BASE_URL", lambda _region: "https://api.anthropic.com")
PROVIDERS: Final = (
    Provider(
        "CLAUDE_CODE_USE_BEDROCK",
        "ANTHROPIC_BEDROCK_BASE_URL",
        lambda region: f"https://bedrock-runtime.{region}.amazonaws.com",
        ("AWS_REGION", "AWS_DEFAULT_REGION"),
        "us-east-1",
        _AWS,
    ),
    Provider(
        "CLAUDE_CODE_USE_VERTEX",
        "ANTHROPIC_VERTEX_BASE_URL",
        _vertex,
        ("CLOUD_ML_REGION",),
        "us-east5",
        _GOOGLE,
    ),
    Provider("CLAUDE_CODE_USE_FOUNDRY", "ANTHROPIC_FOUNDRY_BASE_URL"),
    Provider("CLAUDE_CODE_USE_ANTHROPIC_AWS", "ANTHROPIC_AWS_BASE_URL", takes=_AWS),
    Provider("CLAUDE_CODE_USE_ANTHROPIC_GOOGLE_CLOUD", "ANTHROPIC_GOOGLE_CLOUD_BASE_URL", takes=_GOOGLE),
    Provider("CLAUDE_CODE_USE_MANTLE", "ANTHROPIC_BEDROCK_MANTLE_BASE_URL", takes=_AWS),
    Provider("CLAUDE_CODE_USE_GATEWAY", "ANTHROPIC_BASE_URL"),
)
BASE_URLS: Final = frozenset(provider.url for provider in (FIRST_PARTY, *PROVIDERS))


@dataclass(frozen=True, slots=True)
class Destination:
    """One base URL that requests may go to, None where it cannot be known, and the setting behind it."""

    url: str | None
    setting: Value
    provider: Provider


def destinations(layers: Layers, kind: Kind | None = None) -> Iterator[Destination]:
    """Find every base URL that requests may go to; with a `kind`, of the providers that take it."""
    return (found for found in _all(layers) if kind is None or kind is Kind.API_KEY or kind in found.provider.takes)


def _all(layers: Layers) -> Iterator[Destination]:
    sure = False
    for provider in filter(lambda provider: layers.mention(provider.switch), PROVIDERS):
        switch = layers.values(provider.switch)
        if all(value.text is not None and value.text.strip().lower() in _OFF for value in switch):
            continue
        sure = sure or all(value.text is not None and value.text.strip().lower() in _ON for value in switch)
        said = next(value for value in switch if value.text != ABSENT)
        yield from _of(provider, layers, said)
    if not sure:
        yield from _of(FIRST_PARTY, layers, Value(ABSENT))


def _of(provider: Provider, layers: Layers, switch: Value) -> Iterator[Destination]:
    for value in layers.values(provider.url):
        if value.text == ABSENT:
            yield from _own(provider, layers, value if value.file else switch)
        else:
            yield Destination(value.text, value, provider)


def _own(provider: Provider, layers: Layers, setting: Value) -> Iterator[Destination]:
    """Name the provider's own endpoints, for every region that may be meant."""
    if provider.own is None:
        yield Destination(None, setting, provider)
        return
    for region in _regions(provider, layers):
        # Anything else could name another host: AWS_REGION=x@evil.example/
        url = provider.own(region.text) if region.text is not None and _REGION.fullmatch(region.text) else None
        yield Destination(url, region if region.file else setting, provider)


def _regions(provider: Provider, layers: Layers) -> Iterator[Value]:
    for name in provider.part:
        values = layers.values(name)
        yield from (value for value in values if value.text != ABSENT)
        if all(value.text != ABSENT for value in values):
            return
    yield Value(provider.usual)
