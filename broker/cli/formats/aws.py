"""AWS session keys as the JSON that AWS's programs and Claude Code run a command for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from broker.errors import BadRequest

_PARTS: Final = {
    "AccessKeyId": "access_key_id",
    "SecretAccessKey": "secret_access_key",
    "SessionToken": "session_token",
    "Expiration": "expires_at",
}


def as_credential_process(credential: Mapping[str, Any], _name: str | None) -> str:
    """Write what a `credential_process` prints (AWS SDKs and Tools Reference); without an end it is never refreshed."""
    account = {"AccountId": credential["account_id"]} if credential.get("account_id") else {}
    return json.dumps({"Version": 1, **_parts(credential), **account})


def as_claude_export(credential: Mapping[str, Any], _name: str | None) -> str:
    """Write what Claude Code's `awsCredentialExport` prints: STS's shape, and only with a session's token.

    Measured on 2.1.197 and 2.1.330, which take the flat shape of a `credential_process` as well.
    """
    parts = _parts(credential)
    if "SessionToken" not in parts:
        raise BadRequest(
            f"{credential['credential']} has keys without a session, which Claude Code does not take from a command; "
            "set get_session_token = true in its source, or use: broker setup claude-code --via endpoint"
        )
    return json.dumps({"Credentials": parts})


def _parts(credential: Mapping[str, Any]) -> dict[str, str]:
    if credential["kind"] != "aws-session":
        raise BadRequest(
            f"{credential['credential']} is of kind {credential['kind']}: this format is for an aws-session"
        )
    return {name: str(credential[part]) for name, part in _PARTS.items() if credential.get(part)}
