"""What is made of a session: Bedrock API keys, secrets and parameters."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import aws_bedrock_token_generator as reference
import botocore.auth
import pytest
from aws_bedrock_token_generator.token_generator import BedrockTokenGenerator
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.durations import Duration
from broker.errors import PermanentFetchError
from broker.model import Kind
from broker.secret import Secret
from broker.sources.aws import bedrock
from broker.sources.aws.session import Session
from broker.sources.aws.settings import AwsSettings
from broker.sources.aws.source import SessionFetcher
from broker.sources.interface import Fetcher
from tests.contracts.source_contract import (
    OTHER,
    VALUE,
    Harness,
    SourceOfValues,
    SourceThatFails,
    SourceThatWaits,
    failure,
    token_of,
)
from tests.fakes.aws import KEY_ID, FakeAws
from tests.sources.aws.conftest import ROLE, Account, Open

NOW = datetime(2026, 11, 22, 4, 30, tzinfo=UTC)
KEYS = st.text(alphabet=st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=60)


class _SecretHarness(Harness):
    """Writes a secret of Secrets Manager's, and makes AWS hang or fail."""

    def __init__(self, account: Account) -> None:
        self._aws = account.aws
        account.context.secrets.records["aws"] = Secret(VALUE)
        self._fetcher = account.fetcher(kind="secretsmanager", secret_id="claude", field="a.key")
        self.give(VALUE)

    def fetcher(self) -> Fetcher:
        return self._fetcher

    def give(self, text: str) -> None:
        self._aws.secrets["claude"] = {"SecretString": json.dumps({"a": {"key": text}}), "VersionId": "v1"}

    def remove(self) -> None:
        del self._aws.secrets["claude"]

    def hang(self) -> None:
        self._aws.gate.clear()

    def release(self) -> None:
        self._aws.gate.set()

    def fail(self, saying: str) -> None:
        self._aws.failures["GetSecretValue"] = (400, "InvalidRequestException", saying)


class TestSecretsManager(SourceOfValues, SourceThatWaits, SourceThatFails):
    """It keeps the contract."""

    @pytest.fixture
    def harness(self, account: Open) -> Harness:
        """Give a field of a secret."""
        return _SecretHarness(account())


class _ParameterHarness(_SecretHarness):
    def __init__(self, account: Account) -> None:
        super().__init__(account)
        self._fetcher = account.fetcher(kind="ssm", parameter="/claude")

    def give(self, text: str) -> None:
        self._aws.parameters["/claude"] = text

    def remove(self) -> None:
        del self._aws.parameters["/claude"]


class TestParameterStore(SourceOfValues):
    """It keeps the contract."""

    @pytest.fixture
    def harness(self, account: Open) -> Harness:
        """Give a parameter."""
        return _ParameterHarness(account(role_arn=ROLE))


# --- Bedrock API keys -----------------------------------------------------------------------------------------------


def stand_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let botocore sign at one and the same time."""
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: NOW.replace(tzinfo=None))


@settings(max_examples=40)
@given(key_id=KEYS, secret=KEYS, token=st.none() | KEYS, hours=st.integers(1, 12))
def test_a_bedrock_key_is_byte_for_byte_that_of_the_reference(
    key_id: str, secret: str, token: str | None, hours: int
) -> None:
    """Of AWS's own package, for the same clock and keys, however odd these are."""
    session = Session(key_id, Secret(secret), Secret(token) if token is not None else None)
    with pytest.MonkeyPatch.context() as monkeypatch:
        stand_still(monkeypatch)
        ours = bedrock.api_key(session, "us-west-2", hours * 3600.0)
        provider = type("Provider", (), {"load": lambda _self: Credentials(key_id, secret, token)})()
        theirs = reference.provide_token("us-west-2", provider, timedelta(hours=hours))
        assert token_of(ours) == theirs
        if hours == 12:
            assert theirs == BedrockTokenGenerator().get_token(Credentials(key_id, secret, token), "us-west-2")


async def test_a_bedrock_key_ends_with_its_session(account: Open) -> None:
    """It says twelve hours of itself, but Bedrock looks at the session in it too."""
    issued = await account(role_arn=ROLE).fetcher(kind="bedrock-api-key").fetch()
    assert issued.kind is Kind.BEDROCK_API_KEY
    assert issued.expires_at == pytest.approx(time.time() + 3600, abs=2)
    assert (issued.details["role"], issued.details["region"]) == ("claude", "eu-west-1")
    assert b"X-Amz-Expires=43200" in base64.b64decode(token_of(issued).removeprefix("bedrock-api-key-"))


@pytest.mark.parametrize(("settings", "hours"), [({}, 12), ({"duration": Duration(7200)}, 2)])
async def test_a_bedrock_key_of_a_users_keys_lives_as_long_as_is_asked(
    account: Open, settings: dict[str, Any], hours: int
) -> None:
    """Twelve hours at most."""
    issued = await account().fetcher(kind="bedrock-api-key", **settings).fetch()
    assert issued.expires_at == pytest.approx(time.time() + hours * 3600, abs=2)


async def test_a_bedrock_key_belongs_to_a_region(account: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """The credential's own comes first; without any there is none."""
    issued = await account(role_arn=ROLE).fetcher(kind="bedrock-api-key", region="us-west-2").fetch()
    assert b"%2Fus-west-2%2Fbedrock%2F" in base64.b64decode(token_of(issued).removeprefix("bedrock-api-key-"))
    assert issued.details["region"] == "us-west-2"
    error = await failure(account(role_arn=ROLE, region=None).fetcher(kind="bedrock-api-key"))
    assert "set `region` of the source" in str(error)
    monkeypatch.setenv("AWS_REGION", "us-east-2")
    await account(role_arn=ROLE, region=None).fetcher(kind="bedrock-api-key").fetch()


async def test_a_refused_bedrock_key_is_made_of_another_session(account: Open, aws: FakeAws) -> None:
    """Signing the same session again would give what was refused."""
    fetcher = account(role_arn=ROLE).fetcher(kind="bedrock-api-key")
    assert isinstance(fetcher, SessionFetcher)
    first = await fetcher.fetch()
    fetcher.renounce()
    assert token_of(await fetcher.fetch()) != token_of(first)
    assert aws.calls["AssumeRole"] == 2


# --- secrets and parameters -----------------------------------------------------------------------------------------


async def test_a_secret_tells_its_version(account: Open, aws: FakeAws) -> None:
    """And a stage, or a version, can be asked for."""
    aws.secrets["claude"] = {"SecretString": VALUE, "VersionId": "v2", "ARN": "arn:aws:secretsmanager:x"}
    made = account(role_arn=ROLE)
    issued = await made.fetcher(kind="secretsmanager", secret_id="claude", version_stage="AWSPREVIOUS").fetch()
    assert aws.last("GetSecretValue")["VersionStage"] == "AWSPREVIOUS"
    assert issued.kind is Kind.API_KEY
    assert (issued.details["version"], issued.details["role"]) == ("v2", "claude")
    await made.fetcher(
        kind="secretsmanager", secret_id="claude", version_id="fake-version-0123456789abcdef012345"
    ).fetch()
    assert aws.last("GetSecretValue")["VersionId"].startswith("fake-version-")


async def test_a_parameter_is_decrypted_and_its_version_can_be_named(account: Open, aws: FakeAws) -> None:
    """By a number."""
    aws.parameters["/claude"] = '{"key": "fake-token-1"}'
    issued = await account(role_arn=ROLE).fetcher(kind="ssm", parameter="/claude", field="key", version=7).fetch()
    assert token_of(issued) == "fake-token-1"
    asked = aws.last("GetParameter")
    assert (asked["Name"], asked["WithDecryption"]) == ("/claude:7", True)
    assert issued.details["version"] == "7"


async def test_what_cannot_be_shown_is_no_detail(account: Open, aws: FakeAws) -> None:
    """Details go to terminals, and into the audit trail."""
    aws.secrets["claude"] = {"SecretString": VALUE, "VersionId": "v\x1b[2J", "ARN": "arn:" + "x" * 400}
    issued = await account().fetcher(kind="secretsmanager", secret_id="claude").fetch()
    assert issued.details.keys() == {"account_id", "region"}
    aws.callers[KEY_ID] = "arn:aws:sts::111111111111:assumed-role/\x1b[2J/me"
    assert (await account().fetcher().fetch()).details.keys() == {"region"}


@pytest.mark.parametrize(
    ("text", "field", "expected"),
    [
        (VALUE, None, VALUE),
        (VALUE + "\n", None, VALUE),
        (json.dumps({"key": VALUE}), None, VALUE),
        (json.dumps({"a.b": VALUE, "a": {"b": OTHER}}), "a.b", VALUE),
        (json.dumps({"a": {"b": [VALUE]}}), "a.b.0", VALUE),
    ],
)
async def test_a_field_is_found(account: Open, aws: FakeAws, text: str, field: str | None, expected: str) -> None:
    """The only one by itself; a name with a dot as it is; else step by step."""
    aws.secrets["claude"] = {"SecretString": text}
    issued = await account().fetcher(kind="secretsmanager", secret_id="claude", field=field).fetch()
    assert token_of(issued) == expected


async def test_a_binary_secret_is_read_as_text(account: Open, aws: FakeAws) -> None:
    """If it is one."""
    fetcher = account().fetcher(kind="secretsmanager", secret_id="claude")
    aws.secrets["claude"] = {"SecretBinary": base64.b64encode(VALUE.encode()).decode()}
    assert token_of(await fetcher.fetch()) == VALUE
    aws.secrets["claude"] = {"SecretBinary": base64.b64encode(b"\xff\xfe").decode()}
    assert "a binary secret, and not text" in str(await failure(fetcher))


@pytest.mark.parametrize(
    ("text", "field", "expected"),
    [
        (json.dumps({"one": VALUE, "two": VALUE}), None, "which field? It has one, two; set field"),
        ("{}", None, "It has none"),
        (json.dumps({"one": VALUE}), "on", "no field on; it has one"),
        (json.dumps({"one": 7}), "one", "which is not text"),
        (VALUE, "key", "not valid JSON (perhaps cut off); remove field"),
        ("{" + VALUE, None, "not valid JSON"),
        (json.dumps({"\x1b[31m": VALUE, "b": VALUE}), "c", "(odd name), b"),
    ],
)
async def test_a_wrong_field_lists_the_names_and_never_a_value(
    account: Open, aws: FakeAws, text: str, field: str | None, expected: str
) -> None:
    """That is what one needs to mend the config."""
    aws.secrets["claude"] = {"SecretString": text}
    error = await failure(account().fetcher(kind="secretsmanager", secret_id="claude", field=field))
    assert isinstance(error, PermanentFetchError)
    assert expected in str(error)
    assert VALUE not in str(error)


@pytest.mark.slow
async def test_revoked_keys_cost_one_more_session(account: Open, aws: FakeAws) -> None:
    """A secret is read by the session that is there, and by another where AWS has forgotten that; once for all."""
    made = account(role_arn=ROLE)
    aws.secrets["claude"] = {"SecretString": VALUE}
    fetchers = [made.fetcher(kind="secretsmanager", secret_id="claude") for _ in range(5)]
    await asyncio.gather(*(fetcher.fetch() for fetcher in fetchers))
    aws.forget()
    assert [token_of(one) for one in await asyncio.gather(*(fetcher.fetch() for fetcher in fetchers))] == [VALUE] * 5
    assert aws.calls["AssumeRole"] == 2


def test_a_new_version_is_noticed_within_minutes() -> None:
    """Secrets have no end: they are read again after five minutes, unless `max_age` says otherwise."""
    from broker.sources import TYPES  # noqa: PLC0415  # what the daemon uses

    assert TYPES["aws"].max_age_s == 300
    assert TYPES["aws"].kind(AwsSettings(kind="secretsmanager", secret_id="x")) is Kind.API_KEY
