"""The calls of STS: each makes other keys of some. Blocking, and raising what botocore raises."""

from __future__ import annotations

import getpass
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from broker.errors import TransientFetchError
from broker.secret import Secret, flaw
from broker.sources.aws.sdk import Library
from broker.sources.aws.session import Session
from broker.sources.aws.settings import Role
from broker.sources.aws.skew import Skew

_DEFAULT_ROLE_S: Final = 3600
_DEFAULT_SESSION_S: Final = 12 * 3600
_ASSUMED: Final = re.compile(r"arn:[a-z-]+:sts::[0-9]{12}:assumed-role/(?P<role>[\w+=,.@-]+)/[\w+=,.@-]+", re.ASCII)
_ACCOUNT: Final = re.compile(r"arn:[a-z-]+:(?:sts|iam)::(?P<account>[0-9]{12}):[\w+=,.@:/-]{1,600}", re.ASCII)
_ODD: Final = re.compile(r"[^\w+=,.@-]", re.ASCII)


def assume(client: Library, role: Role, skew: Skew) -> Session:
    """Assume a role by the client's keys."""
    return _assumed(client.assume_role(**_parameters(role), **_identity(role)), skew)


def assume_by_token(client: Library, role: Role, token: Secret, skew: Skew) -> Session:
    """Assume a role by a web identity token; the client does not sign."""
    return _assumed(client.assume_role_with_web_identity(**_parameters(role), WebIdentityToken=token.reveal()), skew)


def session_token(
    client: Library, keys: Session, duration_s: float | None, mfa: Mapping[str, str], skew: Skew
) -> Session:
    """Get a session of the user whose keys the client has; `mfa` as the API takes it."""
    answer = client.get_session_token(DurationSeconds=int(duration_s or _DEFAULT_SESSION_S), **mfa)
    return replace(_session(answer, skew), details=keys.details)


def identify(client: Library) -> Mapping[str, str]:
    """Ask who the client's keys are: facts for `Session.details`."""
    return facts(str(client.get_caller_identity().get("Arn", "")))


def facts(arn: str) -> dict[str, str]:
    """Read an ARN of STS's or IAM's; nothing where it is none."""
    account, assumed = _ACCOUNT.fullmatch(arn), _ASSUMED.fullmatch(arn)
    if account is None:
        return {}
    return {"arn": arn, "account_id": account["account"], **({"role": assumed["role"]} if assumed else {})}


def session_name() -> str:
    """Name a session after the person, for the account's own audit (CloudTrail)."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's uid without a name
        user = "user"
    return f"broker-{_ODD.sub('-', user)}"[:64]


def _parameters(role: Role) -> dict[str, Any]:
    """Give what both ways to assume a role take."""
    wanted = {
        "RoleArn": role.role_arn,
        "RoleSessionName": role.role_session_name or session_name(),
        "DurationSeconds": int(role.duration or _DEFAULT_ROLE_S),
        "Policy": role.policy,
        "PolicyArns": [{"arn": arn} for arn in role.policy_arns],
    }
    return {name: value for name, value in wanted.items() if value}


def _identity(role: Role) -> dict[str, Any]:
    wanted = {
        "ExternalId": role.external_id,
        "SourceIdentity": role.source_identity,
        "Tags": [{"Key": key, "Value": value} for key, value in (role.tags or {}).items()],
        "TransitiveTagKeys": list(role.transitive_tags),
    }
    return {name: value for name, value in wanted.items() if value}


def _assumed(answer: Mapping[str, Any], skew: Skew) -> Session:
    user = answer.get("AssumedRoleUser") or {}
    return replace(_session(answer, skew), details=facts(str(user.get("Arn", ""))))


def _session(answer: Mapping[str, Any], skew: Skew) -> Session:
    given = answer.get("Credentials") or {}
    texts = [given.get(name) for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")]
    if any(not isinstance(text, str) or flaw(text) is not None for text in texts) or "Expiration" not in given:
        raise TransientFetchError("STS answered without usable keys; check `endpoint_url` of the source")
    key_id, secret, token = texts
    expires_at = skew.local(given["Expiration"].timestamp())
    if expires_at <= time.time() and skew.words:
        raise TransientFetchError(f"the session that STS gave has ended already: {skew.words}")
    return Session(str(key_id), Secret(str(secret)), Secret(str(token)), expires_at)
