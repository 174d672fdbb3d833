"""What a `litellm` source and its credentials take in the config."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from broker import audience
from broker.durations import Duration
from broker.sources.references import Reference
from broker.sources.web.server import Server, absolute, checked_url

_TIMEOUT: Final = Duration(10)
_HOUR: Final = Duration(3600)
_FACES: Final = ("/anthropic", "/bedrock", "/vertex_ai", "/v1")
_ALIAS: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@:-]{0,199}", re.ASCII)


@dataclass(frozen=True, slots=True)
class LiteLLMSourceSettings:
    """`base_url`: the proxy's own address; `master_key`: what it lets make keys; `timeout`: of one call, in seconds."""

    base_url: str
    master_key: Reference
    ca_cert: str | None = None
    allow_http: bool = False
    timeout: Duration = _TIMEOUT

    def __post_init__(self) -> None:
        url = checked_url("base_url", self.base_url, "https://litellm.example:4000", allow_http=self.allow_http)
        if (problem := audience.problem(url)) is not None:
            raise ValueError(f"base_url: {problem}")
        if url.endswith(_FACES) or "/vertex_ai/" in url:
            raise ValueError(
                "base_url must be the proxy's own address, without /anthropic and the like: keys are made there"
            )
        object.__setattr__(self, "base_url", url)
        object.__setattr__(self, "ca_cert", absolute("ca_cert", self.ca_cert))

    @property
    def server(self) -> Server:
        """How it is reached."""
        return Server(self.base_url, ca_cert=self.ca_cert, timeout=self.timeout)


@dataclass(frozen=True, slots=True)
class LiteLLMSettings:
    """What a key is made with; all but `duration`, which no key is without, as LiteLLM's `/key/generate` takes it.

    `key_alias`: the beginning of each key's alias; LiteLLM takes none twice. `max_budget`: of each key anew.
    """

    duration: Duration = _HOUR
    models: tuple[str, ...] = ()
    key_alias: str | None = None
    max_budget: float | None = None
    user_id: str | None = None
    team_id: str | None = None
    metadata: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not float(self.duration).is_integer():
            raise ValueError("duration must be whole seconds: LiteLLM knows no parts of them")
        if self.key_alias is not None and not _ALIAS.fullmatch(self.key_alias):
            raise ValueError(
                "key_alias must begin with a letter or digit, and be of letters, digits, blanks and . _ @ : -"
            )
        if self.max_budget is not None and not 0 <= self.max_budget < math.inf:
            raise ValueError("max_budget must be a number of dollars, 0 or more")
        if self.metadata is not None:
            _check_json(self.metadata)


def _check_json(metadata: Mapping[str, Any]) -> None:
    try:
        json.dumps(metadata, allow_nan=False)
    except (TypeError, ValueError):
        raise ValueError("metadata must be of texts, numbers, booleans, lists and tables (no dates, no nan)") from None
