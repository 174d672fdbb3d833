"""What an `aws` source and its credentials take in the config.

[sources.corp]
type = "aws"
profile = "corp"                                        # the identity to begin with
via = [{ role_arn = "arn:aws:iam::111111111111:role/hub" }]  # roles on the way, first to last
role_arn = "arn:aws:iam::222222222222:role/claude"      # the one to end with
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final, Literal
from urllib.parse import urlsplit

from broker.durations import Duration
from broker.model import Kind
from broker.sources.answer import is_path
from broker.sources.aws.sso.settings import SsoSettings
from broker.sources.references import Reference
from broker.sources.web.server import checked_url

ROLE_ARN: Final = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]{1,576}", re.ASCII)
_REGION: Final = re.compile(r"[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}", re.ASCII)
_WORD: Final = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
"""What a session's name and a source identity may be (STS, AssumeRole)."""
_EXTERNAL_ID: Final = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)
_MFA_SERIAL: Final = re.compile(r"[\w+=/:,.@-]{9,256}", re.ASCII)
_KEY_ID: Final = re.compile(r"\w{16,128}", re.ASCII)
_LOOPBACK: Final = re.compile(r"localhost|127(\.[0-9]{1,3}){3}|::1", re.ASCII)
_VERSION_ID: Final = re.compile(r"[\w-]{32,64}", re.ASCII)
_PROFILE: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,100}")
_SECRET_ID: Final = re.compile(r"[\w/+=.@:!-]{1,2048}", re.ASCII)
_PARAMETER: Final = re.compile(r"[\w./:-]{1,2048}", re.ASCII)
_STAGE: Final = re.compile(r"[\w+=.@/-]{1,256}", re.ASCII)
_TAGS_MAX: Final = 50
_SHORTEST_S: Final = 900
_LONGEST_CHAINED_S: Final = 3600
_LONGEST_ROLE_S: Final = 12 * 3600
_LONGEST_SESSION_S: Final = 36 * 3600

BEDROCK_LONGEST_S: Final = 12 * 3600.0
_BEDROCK_LONGEST: Final = Duration(BEDROCK_LONGEST_S)


@dataclass(frozen=True, slots=True)
class Role:
    """One role to assume, and how: the parameters of AssumeRole in STS's API, by their usual names.

    `duration` of the session: 1 h where it is not given, and never more than that for a role that is assumed by
    another role (STS's rule for chains). Below half an hour SDKs ask at each signing: they want 15 min left. `policy`: JSON text that narrows what the role may; `policy_arns` likewise.
    """

    role_arn: str
    external_id: str | None = None
    role_session_name: str | None = None
    duration: Duration | None = None
    policy: str | None = None
    policy_arns: tuple[str, ...] = ()
    tags: Mapping[str, str] | None = None
    transitive_tags: tuple[str, ...] = ()
    source_identity: str | None = None

    def __post_init__(self) -> None:
        _check(self.external_id, _EXTERNAL_ID, "external_id must be 2 to 1224 letters, digits and _+=,.@:/-")
        _check(self.role_session_name, _WORD, "role_session_name must be 2 to 64 letters, digits and _+=,.@-")
        _check(self.source_identity, _WORD, "source_identity must be 2 to 64 letters, digits and _+=,.@-")
        _check_duration(self.duration, _LONGEST_ROLE_S)
        _check_policy(self.policy)
        _check_tags(self.tags, self.transitive_tags)
        _check(self.role_arn, ROLE_ARN, "role_arn must be such as arn:aws:iam::123456789012:role/claude")

    @property
    def partition(self) -> str:
        """Tell AWS's worlds apart: `aws`, `aws-cn`, `aws-us-gov`."""
        return self.role_arn.split(":")[1]


@dataclass(frozen=True, slots=True)
class AwsSourceSettings:
    """Who we are, to begin with, and what that becomes.

    The identity to begin with is one of: keys by reference; a web identity token (a JWT that the first role trusts);
    `sso`; else what the AWS CLI would find (`profile`, environment, SSO, container, instance). Then, where
    `get_session_token` or `mfa_serial` says so, GetSessionToken (12 h; `mfa_code` is a reference to the present code,
    such as a command that prints it, and each code is used once). Then the roles: `via`, and last that of
    `role_arn`, whose parameters stand beside it (see `Role`). `duration` is of what comes last.
    """

    profile: str | None = None
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: Reference | None = None
    session_token: Reference | None = None
    web_identity_token: Reference | None = None
    sso: SsoSettings | None = None
    get_session_token: bool = False
    mfa_serial: str | None = None
    mfa_code: Reference | None = None
    via: tuple[Role, ...] = ()
    role_arn: str | None = None
    external_id: str | None = None
    role_session_name: str | None = None
    duration: Duration | None = None
    policy: str | None = None
    policy_arns: tuple[str, ...] = ()
    tags: Mapping[str, str] | None = None
    transitive_tags: tuple[str, ...] = ()
    source_identity: str | None = None
    endpoint_url: str | None = None

    def __post_init__(self) -> None:
        self._check_identity()
        self._check_mfa()
        _check(self.profile, _PROFILE, "profile must be a name of ~/.aws/config, in at most 100 characters")
        _check(self.region, _REGION, "region must be such as us-east-1")
        if self.endpoint_url is not None:
            checked = checked_url("endpoint_url", self.endpoint_url, "https://sts.example", allow_http=True)
            if is_open(checked):
                raise ValueError("endpoint_url must be https, as others on the network can read http")
            object.__setattr__(self, "endpoint_url", checked)
        if self.role_arn is None:
            self._check_without_role()
        else:
            self._check_roles()

    @property
    def roles(self) -> tuple[Role, ...]:
        """The roles in the order in which they are assumed."""
        return self.via if self.role_arn is None else (*self.via, self._last_role())

    @property
    def takes_session_token(self) -> bool:
        """Whether GetSessionToken comes before the roles."""
        return self.get_session_token or self.mfa_serial is not None

    def _last_role(self) -> Role:
        return Role(**{field.name: getattr(self, field.name) for field in fields(Role)})

    def _check_identity(self) -> None:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id and secret_access_key belong together")
        if self.session_token is not None and self.secret_access_key is None:
            raise ValueError("session_token belongs to access_key_id and secret_access_key")
        _check(self.access_key_id, _KEY_ID, "access_key_id must be such as AKIA followed by 16 letters and digits")
        kinds = {
            "access_key_id": self.access_key_id,
            "web_identity_token": self.web_identity_token,
            "sso": self.sso,
            "profile": self.profile,
        }
        given = [name for name, value in kinds.items() if value is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are each an identity to begin with; keep one")
        if self.web_identity_token is not None and self.role_arn is None:
            raise ValueError("web_identity_token needs role_arn: the role that trusts it")

    def _check_mfa(self) -> None:
        _check(self.mfa_serial, _MFA_SERIAL, "mfa_serial must be such as arn:aws:iam::123456789012:mfa/me")
        by_profile = self.mfa_serial is None and self.profile is not None  # the profile may have a serial of its own
        if (self.mfa_serial is None) != (self.mfa_code is None) and not by_profile:
            raise ValueError(
                "mfa_serial and mfa_code belong together; mfa_code is a reference to the present code, such as"
                ' { command = ["ykman", "oath", "accounts", "code", "-s", "aws"] }'
            )
        if self.takes_session_token and (self.web_identity_token is not None or self.sso is not None):
            raise ValueError(
                "get_session_token and mfa_serial are for a user's keys, not for sso or web_identity_token"
            )

    def _check_roles(self) -> None:
        if any((role.duration or 0.0) > _LONGEST_CHAINED_S for role in self.roles[1:]):
            raise ValueError("duration of a role that a role assumes is at most 1h, by STS's rule for chains")

    def _check_without_role(self) -> None:
        if self.via:
            raise ValueError("via needs role_arn: the role to end with")
        alone = [field.name for field in fields(Role) if field.name != "duration" and getattr(self, field.name)]
        if alone:
            raise ValueError(f"{', '.join(alone)} belong to role_arn, which is missing")
        if self.duration is not None and not self.takes_session_token:
            raise ValueError("duration belongs to role_arn or get_session_token")
        _check_duration(self.duration, _LONGEST_SESSION_S)


@dataclass(frozen=True, slots=True)
class AwsSettings:
    """What to make of the session.

    `field` is a dotted path into a JSON value of `secretsmanager` and `ssm`. `version_stage`, `version_id`: of a
    secret, `version`: of a parameter; the current one if not given. `region`: another one than the source's.
    `duration`: of a Bedrock API key, at most 12 h, and never longer than the session's life.
    """

    kind: Literal["aws-session", "bedrock-api-key", "secretsmanager", "ssm"] = "aws-session"
    region: str | None = None
    secret_id: str | None = None
    parameter: str | None = None
    field: str | None = None
    version: int | None = None
    version_stage: str | None = None
    version_id: str | None = None
    duration: Duration = _BEDROCK_LONGEST

    def __post_init__(self) -> None:
        _check(self.region, _REGION, "region must be such as us-east-1")
        self._check_belongings()
        _check(self.secret_id, _SECRET_ID, "secret_id must be a name, or an ARN")
        _check(self.parameter, _PARAMETER, "parameter must be a name such as /team/key, or an ARN")
        _check(self.version_stage, _STAGE, "version_stage must be such as AWSPREVIOUS")
        if self.kind == "secretsmanager" and not self.secret_id:
            raise ValueError('kind = "secretsmanager" needs secret_id: a name or an ARN')
        if self.kind == "ssm" and not self.parameter:
            raise ValueError('kind = "ssm" needs parameter: a name or an ARN')
        if self.field is not None and not is_path(self.field):
            raise ValueError("field is names joined by dots")
        if self.version is not None and self.version < 1:
            raise ValueError("version counts from 1")
        _check(self.version_id, _VERSION_ID, "version_id must be the 32 to 64 characters that Secrets Manager shows")
        if self.version_stage is not None and self.version_id is not None:
            raise ValueError("version_stage and version_id exclude each other")
        if self.duration > BEDROCK_LONGEST_S:
            raise ValueError("duration of a Bedrock API key is at most 12h")

    @property
    def yields(self) -> Kind:
        """What a caller gets."""
        return {"aws-session": Kind.AWS_SESSION, "bedrock-api-key": Kind.BEDROCK_API_KEY}.get(self.kind, Kind.API_KEY)

    def _check_belongings(self) -> None:
        belongs = {
            "secret_id": {"secretsmanager"},
            "version_stage": {"secretsmanager"},
            "version_id": {"secretsmanager"},
            "parameter": {"ssm"},
            "version": {"ssm"},
            "field": {"secretsmanager", "ssm"},
        }
        for name, kinds in belongs.items():
            if getattr(self, name) is not None and self.kind not in kinds:
                raise ValueError(f"{name} belongs to kind = {' or '.join(sorted(kinds))}")
        if self.duration != _BEDROCK_LONGEST and self.kind != "bedrock-api-key":
            raise ValueError("duration belongs to kind = bedrock-api-key; that of a session stands on the source")


def is_open(url: str) -> bool:
    """Whether whoever listens on the way could read what goes there and comes back."""
    parts = urlsplit(url)
    return parts.scheme != "https" and not _LOOPBACK.fullmatch(parts.hostname or "")


def _check(text: str | None, pattern: re.Pattern[str], expected: str) -> None:
    if text is not None and not pattern.fullmatch(text):
        raise ValueError(expected)


def _check_duration(duration: Duration | None, longest_s: float) -> None:
    if duration is not None and not _SHORTEST_S <= duration <= longest_s:
        raise ValueError(f"duration must be from 15m to {longest_s // 3600:.0f}h")


def _check_policy(policy: str | None) -> None:
    if policy is None:
        return
    try:
        sound = isinstance(json.loads(policy), dict)
    except (ValueError, RecursionError):
        sound = False
    if not sound:
        raise ValueError("policy must be a JSON object, as text")


def _check_tags(tags: Mapping[str, str] | None, transitive: tuple[str, ...]) -> None:
    known = tags or {}
    if len(known) > _TAGS_MAX or not all(isinstance(value, str) and value.isprintable() for value in known.values()):
        raise ValueError("tags is a table of at most 50 texts")
    if missing := [name for name in transitive if name not in known]:
        raise ValueError(f"transitive_tags: {missing[0][:64]!r} is not among tags")
