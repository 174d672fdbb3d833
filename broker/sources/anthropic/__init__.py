"""`anthropic`: short-lived tokens by workload identity federation."""

from __future__ import annotations

from typing import Final

from broker.sources.anthropic.settings import AnthropicSettings, AnthropicSourceSettings
from broker.sources.anthropic.source import AnthropicSource
from broker.sources.interface import Context, SourceType


def _open(settings: AnthropicSourceSettings, context: Context) -> AnthropicSource:
    made = AnthropicSource(settings, context)
    made.calls.warm()  # else the first who asks waits for the library to load
    return made


ANTHROPIC: Final = SourceType(
    "anthropic",
    AnthropicSourceSettings,
    AnthropicSettings,
    _open,
    audience=lambda settings: (settings.base_url,),
    spends=True,  # an assertion, which the daemon could not use again
)

__all__ = ["ANTHROPIC"]
