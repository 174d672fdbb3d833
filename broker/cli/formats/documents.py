"""A credential as JSON: all of it, or the headers that carry it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from broker.cli.formats.anthropic import BETA, is_federated
from broker.errors import BadRequest


def as_json(credential: Mapping[str, Any], _name: str | None) -> str:
    """Write the daemon's answer."""
    return json.dumps(credential, indent=2)


def as_headers(credential: Mapping[str, Any], _name: str | None) -> str:
    """Write the JSON map that `otelHeadersHelper` and an MCP server's `headersHelper` take.

    An API key goes into both headers, as Claude Code sends it; any other token is a bearer's, and one by federation
    wants a header of its own beside it.
    """
    if "token" not in credential:
        raise BadRequest(f"{credential['credential']} is an {credential['kind']}: it has no single token for a header")
    if is_federated(credential):
        return json.dumps({"authorization": f"Bearer {credential['token']}", "anthropic-beta": BETA})
    key = {"x-api-key": credential["token"]} if credential["kind"] == "api-key" else {}
    return json.dumps({**key, "authorization": f"Bearer {credential['token']}"})
