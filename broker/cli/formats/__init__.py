"""How a credential is handed to another program: variables, headers, JSON in the shapes that programs read.

Pure: from the answer of `GET /v1/credentials/NAME` to texts. They hold secrets: a person asked for them by name. A
format raises `BadRequest` for a kind that it does not fit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from broker.cli.formats.anthropic import as_credentials, as_profile, as_variables
from broker.cli.formats.aws import as_claude_export, as_credential_process
from broker.cli.formats.documents import as_headers, as_json
from broker.cli.formats.variables import ANTHROPIC_VARIABLE, AWS_UNSET, as_env, unwanted, variables

Format = Callable[[Mapping[str, Any], str | None], str]

FORMATS: Final[Mapping[str, Format]] = {
    "env": as_env,
    "json": as_json,
    "headers": as_headers,
    "credential-process": as_credential_process,
    "claude": as_claude_export,
    "anthropic-env": as_variables,
    "anthropic-profile": as_profile,
    "anthropic-credentials": as_credentials,
}
"""Each format, of (credential, the name of its variable where a person gave one)."""

__all__ = ["ANTHROPIC_VARIABLE", "AWS_UNSET", "FORMATS", "unwanted", "variables"]
