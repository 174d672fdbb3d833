"""What an `anthropic` source and its credentials take in the config."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from broker import audience
from broker.durations import Duration
from broker.sources.references import Reference
from broker.sources.web.server import Server, absolute, checked_url

BASE_URL: Final = "https://api.anthropic.com"
_TIMEOUT: Final = Duration(10)
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)


@dataclass(frozen=True, slots=True)
class AnthropicSourceSettings:
    """Which federation rule of which organization, as the Console shows them; `timeout` is of one call, in seconds.

    `service_account_id`: whom the rule is expected to make of us; `workspace_id`: needed where it covers several.
    """

    organization_id: str
    federation_rule_id: str
    service_account_id: str | None = None
    workspace_id: str | None = None
    base_url: str = BASE_URL
    ca_cert: str | None = None
    allow_http: bool = False
    timeout: Duration = _TIMEOUT

    def __post_init__(self) -> None:
        for name in ("organization_id", "federation_rule_id", "service_account_id", "workspace_id"):
            value = getattr(self, name)
            if value is not None and not _ID.fullmatch(value):
                raise ValueError(f"{name} must be the ID that the Console shows: letters, digits, - and _")
        url = checked_url("base_url", self.base_url, BASE_URL, allow_http=self.allow_http)
        if (problem := audience.problem(url)) is not None:
            raise ValueError(f"base_url: {problem}")
        object.__setattr__(self, "base_url", url.removesuffix("/v1"))
        object.__setattr__(self, "ca_cert", absolute("ca_cert", self.ca_cert))

    @property
    def server(self) -> Server:
        """How it is reached."""
        return Server(self.base_url, ca_cert=self.ca_cert, timeout=self.timeout)


@dataclass(frozen=True, slots=True)
class AnthropicSettings:
    """`assertion`: where the JWT comes from that says who we are; each is used once."""

    assertion: Reference
