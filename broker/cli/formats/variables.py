"""A credential as environment variables, and the ones that must go lest they win."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any, Final

from broker.cli.formats import anthropic
from broker.errors import BadRequest

ANTHROPIC_VARIABLE: Final = "ANTHROPIC_API_KEY"
_VARIABLES: Final = {"bedrock-api-key": "AWS_BEARER_TOKEN_BEDROCK", "access-token": "CLOUDSDK_AUTH_ACCESS_TOKEN"}
"""Where programs look for a single token of these kinds."""

AWS_UNSET: Final = (
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_CREDENTIAL_EXPIRATION",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_BEARER_TOKEN_BEDROCK",
)
"""What would win over the keys, or belong to others than these (botocore's and the JS SDK's credential order)."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_AWS: Final = {
    "AWS_ACCESS_KEY_ID": "access_key_id",
    "AWS_SECRET_ACCESS_KEY": "secret_access_key",
    "AWS_SESSION_TOKEN": "session_token",
    "AWS_CREDENTIAL_EXPIRATION": "expires_at",
    "AWS_ACCOUNT_ID": "account_id",
    "AWS_REGION": "region",
    "AWS_DEFAULT_REGION": "region",
}


def variables(credential: Mapping[str, Any], name: str | None) -> dict[str, str]:
    """Give the environment variables for this kind; `name` replaces the usual one of a single token."""
    if name is not None and not _NAME.fullmatch(name):
        # `eval "$(broker export ...)"` would run what stands behind a semicolon.
        raise BadRequest(f"--var {name!r}: a variable's name is letters, digits and _, with no digit first")
    if credential["kind"] != "aws-session":
        return {name or _usual(credential): str(credential["token"])} | ({} if name else _place(credential))
    if name is not None:
        raise BadRequest(f"--var names one variable, but {credential['credential']} is an aws-session and sets several")
    return {variable: str(credential[part]) for variable, part in _AWS.items() if credential.get(part)}


def unwanted(credential: Mapping[str, Any]) -> tuple[str, ...]:
    """Name the variables that must go, lest they win over those of `variables`."""
    if credential["kind"] == "aws-session":
        return AWS_UNSET
    return anthropic.UNSET if anthropic.is_federated(credential) else ()


def _place(credential: Mapping[str, Any]) -> dict[str, str]:
    """Say where a key of Bedrock's is good: in one region alone, whichever the program would take."""
    if credential["kind"] != "bedrock-api-key" or not credential.get("region"):
        return {}
    return {variable: str(credential["region"]) for variable, part in _AWS.items() if part == "region"}


def _usual(credential: Mapping[str, Any]) -> str:
    if anthropic.is_federated(credential):
        return anthropic.CLAUDE_CODE_VARIABLE
    return _VARIABLES.get(credential["kind"], ANTHROPIC_VARIABLE)


def as_env(credential: Mapping[str, Any], name: str | None) -> str:
    """Write lines for a shell's `eval`."""
    wanted = variables(credential, name)
    lines = [f"unset {variable}" for variable in unwanted(credential) if variable not in wanted]
    return "\n".join([*lines, *(f"export {variable}={shlex.quote(value)}" for variable, value in wanted.items())])
