"""A token of Anthropic's workload identity federation, where Claude Code and Anthropic's SDKs look for one.

Read off the npm package @anthropic-ai/sdk 1.12.0 and PyPI's anthropic 2.12.0, and measured with Claude Code 2.1.197
and 2.1.330: a profile `<config folder>/configs/NAME.json`, its `credentials/NAME.json`, and variables. The folder is
`$ANTHROPIC_CONFIG_DIR`, else `~/.config/anthropic`; `$ANTHROPIC_PROFILE` names the profile, else it is `default`.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from broker.errors import BadRequest

CLAUDE_CODE_VARIABLE: Final = "CLAUDE_CODE_OAUTH_TOKEN"
"""Claude Code sends what it finds here as a bearer, with the beta header that such a token wants."""

UNSET: Final = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_PROFILE")
"""What would win."""

BETA: Final = "oauth-2025-04-20"
_BASE_URL: Final = "https://api.anthropic.com"
_VARIABLES: Final = {
    "ANTHROPIC_ORGANIZATION_ID": "organization_id",
    "ANTHROPIC_FEDERATION_RULE_ID": "federation_rule_id",
    "ANTHROPIC_SERVICE_ACCOUNT_ID": "service_account_id",
    "ANTHROPIC_WORKSPACE_ID": "workspace_id",
    "ANTHROPIC_IDENTITY_TOKEN_FILE": "identity_token_file",
}


def is_federated(credential: Mapping[str, Any]) -> bool:
    """Whether it is such a token."""
    return "federation_rule_id" in credential


def as_variables(credential: Mapping[str, Any], _name: str | None) -> str:
    """Write shell lines by which a program exchanges the token file itself: it holds no secret."""
    _check(credential)
    if "identity_token_file" not in credential:
        raise BadRequest(
            f"{credential['credential']}: its assertion is no file that another program could read; use"
            " --format anthropic-profile and anthropic-credentials"
        )
    wanted = {variable: credential[part] for variable, part in _VARIABLES.items() if part in credential}
    lines = [f"unset {variable}" for variable in UNSET]
    return "\n".join([*lines, *(f"export {name}={shlex.quote(str(value))}" for name, value in wanted.items())])


def as_profile(credential: Mapping[str, Any], _name: str | None) -> str:
    """Write `configs/NAME.json`: it holds no secret.

    Where the assertion is a file, the program exchanges it itself; else it takes the token of `as_credentials`.
    """
    _check(credential)
    own = {part: credential[part] for part in ("organization_id", "workspace_id") if part in credential}
    base = {} if credential.get("base_url") in {None, _BASE_URL} else {"base_url": credential["base_url"]}
    return json.dumps({"version": "1.0", **own, **base, "authentication": _authentication(credential)}, indent=2)


def as_credentials(credential: Mapping[str, Any], _name: str | None) -> str:
    """Write `credentials/NAME.json`: the token itself, until it dies."""
    _check(credential)
    token = {"version": "1.0", "type": "oauth_token", "access_token": credential["token"]}
    return json.dumps(
        token | {"expires_at": int(datetime.fromisoformat(credential["expires_at"]).timestamp())}, indent=2
    )


def _authentication(credential: Mapping[str, Any]) -> dict[str, Any]:
    if "identity_token_file" not in credential:
        return {"type": "user_oauth"}  # without a client_id: the token is taken as it stands
    ids = {part: credential[part] for part in ("federation_rule_id", "service_account_id") if part in credential}
    return {
        "type": "oidc_federation",
        **ids,
        "identity_token": {"source": "file", "path": credential["identity_token_file"]},
    }


def _check(credential: Mapping[str, Any]) -> None:
    if not is_federated(credential):
        raise BadRequest(f"{credential['credential']}: this format is for a credential of a source of type anthropic")
