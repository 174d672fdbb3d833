"""The config of an aws source: what is taken, and what is told off before AWS is asked."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.config.structure import Reader
from broker.model import Kind
from broker.sources.aws.settings import ROLE_ARN, AwsSettings, AwsSourceSettings, Role
from broker.sources.references import Reference
from tests.sources.aws.conftest import ROLE

HUB = "arn:aws:iam::111111111111:role/hub"
KEYS = {"access_key_id": "AKIAFAKEFAKEFAKEFAKE", "secret_access_key": {"keyring": "aws/key"}}
MFA = "arn:aws:iam::111111111111:mfa/me"


def problem(table: dict[str, Any], cls: type = AwsSourceSettings) -> str:
    """Read a table that is wrong in one way."""
    reader = Reader("c")
    assert reader.structure(table, cls, "s") is None
    (line,) = reader.problems
    return line.removeprefix("c: s")


def settings(table: dict[str, Any]) -> AwsSourceSettings:
    """Read a table that is right."""
    reader = Reader("c")
    made = reader.structure(table, AwsSourceSettings, "s")
    assert made is not None, reader.problems
    return made


def test_nothing_at_all_is_what_the_aws_cli_would_use() -> None:
    """`source = "aws"` alone works."""
    assert settings({}) == AwsSourceSettings()
    assert not settings({}).roles


def test_roles_come_in_the_order_in_which_they_are_assumed() -> None:
    """What stands beside `role_arn` belongs to that one alone."""
    made = settings({"via": [{"role_arn": HUB, "external_id": "hub-id"}], "role_arn": ROLE, "duration": "30m"})
    assert made.roles == (Role(HUB, external_id="hub-id"), Role(ROLE, duration=made.duration))


def test_secrets_are_references() -> None:
    """Text in their place is told off by the reader, as everywhere."""
    assert settings(KEYS).secret_access_key == Reference(keyring="aws/key")
    assert "broker secret set" in problem(KEYS | {"secret_access_key": "fake-secret-key-0"})


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"access_key_id": "AKIAFAKEFAKEFAKEFAKE"}, "belong together"),
        ({"session_token": {"env": "T"}}, "session_token belongs to access_key_id"),
        (KEYS | {"access_key_id": "short"}, "access_key_id must be such as AKIA"),
        (KEYS | {"profile": "corp"}, "access_key_id and profile are each an identity to begin with; keep one"),
        ({"web_identity_token": {"env": "T"}}, "web_identity_token needs role_arn"),
        ({"role_arn": "claude"}, "role_arn must be such as arn:aws:iam::123456789012:role/claude"),
        ({"role_arn": ROLE, "external_id": "a b"}, "external_id must be"),
        ({"role_arn": ROLE, "role_session_name": "a/b"}, "role_session_name must be"),
        ({"role_arn": ROLE, "source_identity": "a/b"}, "source_identity must be"),
        ({"role_arn": ROLE, "duration": "10m"}, "duration must be from 15m to 12h"),
        ({"role_arn": ROLE, "duration": "13h"}, "duration must be from 15m to 12h"),
        (
            {"via": [{"role_arn": HUB}], "role_arn": ROLE, "duration": "2h"},
            "duration of a role that a role assumes is at most 1h",
        ),
        ({"role_arn": ROLE, "policy": "{"}, "policy must be a JSON object"),
        ({"role_arn": ROLE, "tags": {f"k{n}": "v" for n in range(51)}}, "at most 50"),
        ({"role_arn": ROLE, "transitive_tags": ["team"]}, "transitive_tags: 'team' is not among tags"),
        ({"via": [{"role_arn": HUB}]}, "via needs role_arn"),
        ({"external_id": "some-id", "tags": {"a": "b"}}, "external_id, tags belong to role_arn"),
        ({"duration": "1h"}, "duration belongs to role_arn or get_session_token"),
        ({"get_session_token": True, "duration": "40h"}, "duration must be from 15m to 36h"),
        (KEYS | {"mfa_serial": MFA}, "mfa_serial and mfa_code belong together"),
        ({"profile": "corp", "mfa_serial": MFA}, "mfa_serial and mfa_code belong together"),
        (KEYS | {"mfa_code": {"local": "code"}}, "mfa_serial and mfa_code belong together"),
        (KEYS | {"mfa_serial": "x", "mfa_code": {"local": "code"}}, "mfa_serial must be such as"),
        (
            {"web_identity_token": {"env": "T"}, "role_arn": ROLE, "get_session_token": True},
            "are for a user's keys, not for sso or web_identity_token",
        ),
        ({"profile": "a\x1b[31m"}, "profile must be a name of ~/.aws/config"),
        ({"region": "Frankfurt"}, "region must be such as us-east-1"),
        ({"endpoint_url": "http://sts.example"}, "endpoint_url must be https"),
        ({"endpoint_url": "https://me:pw@sts.example"}, "endpoint_url must be a URL"),
        ({"rolearn": ROLE}, "unknown key; did you mean 'role_arn'?"),
    ],
)
def test_a_source_that_cannot_work_is_told_off(table: dict[str, Any], expected: str) -> None:
    """When the config is read, by the key that is wrong."""
    assert expected in problem(table)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"kind": "secretsmanager"}, "needs secret_id"),
        ({"kind": "ssm"}, "needs parameter"),
        ({"secret_id": "x"}, "secret_id belongs to kind = secretsmanager"),
        ({"kind": "ssm", "parameter": "/x", "version_stage": "X"}, "version_stage belongs to kind = secretsmanager"),
        ({"kind": "ssm", "parameter": "a b"}, "parameter must be a name"),
        ({"kind": "secretsmanager", "secret_id": "a\nb"}, "secret_id must be a name"),
        ({"kind": "secretsmanager", "secret_id": "x", "version_stage": "a b"}, "version_stage must be such as"),
        ({"kind": "ssm", "parameter": "/x", "version": 0}, "version counts from 1"),
        ({"kind": "ssm", "parameter": "/x", "field": "a..b"}, "field is names joined by dots"),
        ({"field": "a"}, "field belongs to kind = secretsmanager or ssm"),
        ({"duration": "1h"}, "that of a session stands on the source"),
        ({"kind": "bedrock-api-key", "duration": "13h"}, "at most 12h"),
        ({"kind": "secretsmanager", "secret_id": "x", "version_id": "1"}, "version_id must be"),
        (
            {"kind": "secretsmanager", "secret_id": "x", "version_id": "1" * 32, "version_stage": "X"},
            "exclude each other",
        ),
        ({"region": "x"}, "region must be such as"),
        ({"kind": "bedrock"}, "bedrock-api-key"),
    ],
)
def test_a_credential_that_cannot_work_is_told_off(table: dict[str, Any], expected: str) -> None:
    """By the key that is wrong."""
    assert expected in problem(table, AwsSettings)


def test_what_a_credential_will_be_is_known_from_its_settings() -> None:
    """The guard judges the first ask by it."""
    assert AwsSettings().yields is Kind.AWS_SESSION
    assert AwsSettings("bedrock-api-key").yields is Kind.BEDROCK_API_KEY
    assert AwsSettings("ssm", parameter="/x").yields is Kind.API_KEY


@given(st.text(max_size=60))
def test_only_an_arn_is_a_role(text: str) -> None:
    """Whatever else stands there, a call with it would fail in words that help nobody."""
    try:
        made = Role(f"arn:aws:iam::123456789012:role/{text}")
    except ValueError:
        return
    assert made.role_arn.isascii()
    assert not any(character.isspace() for character in made.role_arn)
    assert ROLE_ARN.fullmatch(made.role_arn)
