"""`litellm`: virtual keys of a LiteLLM proxy, made under its master key."""

from __future__ import annotations

from typing import Final

from broker.sources.interface import Context, SourceType
from broker.sources.litellm.settings import LiteLLMSettings, LiteLLMSourceSettings
from broker.sources.litellm.source import LiteLLMSource


def _open(settings: LiteLLMSourceSettings, context: Context) -> LiteLLMSource:
    made = LiteLLMSource(settings, context)
    made.calls.warm()  # else the first who asks waits for the library to load
    return made


LITELLM: Final = SourceType(
    "litellm", LiteLLMSourceSettings, LiteLLMSettings, _open, audience=lambda settings: (settings.base_url,)
)

__all__ = ["LITELLM"]
