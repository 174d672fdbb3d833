"""Sessions: what is asked of STS for them, how often, and what is handed out."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import pytest

from broker.clock import Now
from broker.durations import Duration
from broker.errors import LoginRequired, TransientFetchError
from broker.model import Issued, Kind
from broker.secret import Secret
from broker.sources import TYPES
from broker.sources.aws.sdk import Sdk
from broker.sources.aws.session import Kept, Session
from broker.sources.aws.settings import AwsSettings, AwsSourceSettings, Role
from broker.sources.aws.source import SessionFetcher
from broker.sources.interface import Fetcher
from broker.sources.references import Reference
from tests.contracts.source_contract import (
    VALUE,
    AnySource,
    Harness,
    SourceThatFails,
    SourceThatWaits,
    eventually,
    failure,
)
from tests.fakes.aws import KEY_ID, USER, FakeAws
from tests.fakes.context import FakeContext
from tests.sources.aws.conftest import ROLE, SECRET_KEY, Account, Open

HUB = "arn:aws:iam::111111111111:role/hub"
HOUR_S = 3600


class _SessionHarness(Harness):
    def __init__(self, account: Account) -> None:
        self._aws = account.aws
        account.context.secrets.records["aws"] = Secret(VALUE)
        self._fetcher = account.fetcher()

    def fetcher(self) -> Fetcher:
        return self._fetcher

    def hang(self) -> None:
        self._aws.gate.clear()

    def release(self) -> None:
        self._aws.gate.set()

    def fail(self, saying: str) -> None:
        self._aws.failures["AssumeRole"] = (400, "Odd", saying)


class TestAwsSession(AnySource, SourceThatWaits, SourceThatFails):
    """It keeps the contract."""

    @pytest.fixture
    def harness(self, account: Open) -> Harness:
        """Give a role's session."""
        return _SessionHarness(account(role_arn=ROLE))


def parts(issued: Issued) -> dict[str, str]:
    """Reveal everything."""
    return {name: part.reveal() for name, part in issued.parts.items()}


async def test_a_role_is_assumed_by_the_keys_that_are_named(account: Open, aws: FakeAws) -> None:
    """The session has its true end, and tells whose it is."""
    issued = await account(role_arn=ROLE).fetcher().fetch()
    assert parts(issued) == {
        "access_key_id": "ASIAFAKE000000000001",
        "secret_access_key": "fake-secret-key-1",
        "session_token": "fake-session-token-1",
    }
    assert issued.kind is Kind.AWS_SESSION
    assert issued.expires_at == pytest.approx(time.time() + HOUR_S, abs=2)
    name = aws.last("AssumeRole")["RoleSessionName"]
    assert issued.details == {
        "arn": f"arn:aws:sts::222222222222:assumed-role/claude/{name}",
        "account_id": "222222222222",
        "role": "claude",
        "region": "eu-west-1",
    }
    assert name.startswith("broker-"), "the account's own audit shows where it comes from"
    assert aws.last("AssumeRole")["key_id"] == KEY_ID


async def test_every_parameter_of_a_role_goes_to_sts(account: Open, aws: FakeAws) -> None:
    """By the names that STS has for them."""
    settings = {
        "external_id": "fake-external-id",
        "role_session_name": "me@example",
        "duration": Duration(900),
        "policy": '{"Version": "2012-10-17"}',
        "policy_arns": ("arn:aws:iam::aws:policy/ReadOnlyAccess",),
        "tags": {"team": "a"},
        "transitive_tags": ("team",),
        "source_identity": "me",
    }
    await account(role_arn=ROLE, **settings).fetcher().fetch()
    asked = aws.last("AssumeRole")
    del asked["Version"]
    assert asked == {
        "RoleArn": ROLE,
        "RoleSessionName": "me@example",
        "DurationSeconds": "900",
        "ExternalId": "fake-external-id",
        "Policy": '{"Version": "2012-10-17"}',
        "PolicyArns.member.1.arn": "arn:aws:iam::aws:policy/ReadOnlyAccess",
        "Tags.member.1.Key": "team",
        "Tags.member.1.Value": "a",
        "TransitiveTagKeys.member.1": "team",
        "SourceIdentity": "me",
        "key_id": KEY_ID,
    }


async def test_roles_are_assumed_one_by_the_other(account: Open, aws: FakeAws) -> None:
    """`via` first, in its order, each with parameters of its own."""
    made = account(via=(Role(HUB, external_id="fake-hub"),), role_arn=ROLE)
    issued = await made.fetcher().fetch()
    hub, last = aws.asked["AssumeRole"]
    assert (hub["RoleArn"], hub["ExternalId"], hub["key_id"]) == (HUB, "fake-hub", KEY_ID)
    assert (last["RoleArn"], "ExternalId" in last) == (ROLE, False)
    assert aws.callers[last["key_id"]].startswith("arn:aws:sts::111111111111:assumed-role/hub/")
    assert issued.details["role"] == "claude"


async def test_a_web_identity_token_opens_the_first_role_and_signs_nothing(account: Open, aws: FakeAws) -> None:
    """It is read anew at each sign-in; roles may follow."""
    made = account(web_identity_token=Reference(credential="jwt"), via=(Role(HUB),), role_arn=ROLE)
    made.context.tokens["jwt"] = Secret("fake.jwt.one")
    await made.fetcher().fetch()
    asked = aws.last("AssumeRoleWithWebIdentity")
    assert (asked["WebIdentityToken"], asked["RoleArn"], asked["key_id"]) == ("fake.jwt.one", HUB, "")
    assert aws.last("AssumeRole")["RoleArn"] == ROLE
    assert not {"ExternalId", "SourceIdentity"} & asked.keys(), "STS takes them for signed calls alone"


async def test_keys_alone_are_handed_out_as_they_are(account: Open, aws: FakeAws) -> None:
    """A user's keys have no end, and one call tells that they are alive and whose they are."""
    issued = await account().fetcher().fetch()
    assert parts(issued) == {"access_key_id": KEY_ID, "secret_access_key": SECRET_KEY}
    assert issued.expires_at is None
    assert issued.details == {"arn": USER, "account_id": "111111111111", "region": "eu-west-1"}
    assert aws.calls == {"GetCallerIdentity": 1}


async def test_a_session_token_takes_the_place_of_a_users_keys(account: Open, aws: FakeAws) -> None:
    """Twelve hours, if nothing else is asked for."""
    issued = await account(get_session_token=True).fetcher().fetch()
    assert parts(issued)["session_token"] == "fake-session-token-1"
    assert issued.expires_at == pytest.approx(time.time() + 12 * HOUR_S, abs=2)
    assert aws.last("GetSessionToken")["DurationSeconds"] == "43200"
    await account(get_session_token=True, duration=Duration(1800)).fetcher().fetch()
    assert aws.last("GetSessionToken")["DurationSeconds"] == "1800"


# --- MFA ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("user", ["me", "DOMAIN\\me with blanks", ""])
async def test_a_session_is_named_after_the_person(
    account: Open, aws: FakeAws, monkeypatch: pytest.MonkeyPatch, user: str
) -> None:
    """As far as STS takes such a name; a container's user may have none."""

    def name() -> str:
        if not user:
            raise KeyError
        return user

    monkeypatch.setattr("getpass.getuser", name)
    await account(role_arn=ROLE).fetcher().fetch()
    assert (
        aws.last("AssumeRole")["RoleSessionName"]
        == f"broker-{(user or 'user').replace(chr(92), '-').replace(' ', '-')}"
    )


MFA: dict[str, Any] = {"mfa_serial": "arn:aws:iam::111111111111:mfa/me", "mfa_code": Reference(local="code")}


async def test_one_mfa_code_lasts_for_all_roles_of_its_session(account: Open, aws: FakeAws) -> None:
    """Twelve hours of new role sessions without another code."""
    made = account(role_arn=ROLE, **MFA)
    made.context.secrets.records["code"] = Secret("123456")
    fetcher = made.fetcher()
    assert isinstance(fetcher, SessionFetcher)
    for _ in range(3):
        await fetcher.fetch()
        fetcher.renounce()
    asked = aws.last("GetSessionToken")
    assert (asked["SerialNumber"], asked["TokenCode"]) == (MFA["mfa_serial"], "123456")
    assert aws.calls == {"GetSessionToken": 1, "AssumeRole": 3}


async def test_an_mfa_code_is_used_once(account: Open, aws: FakeAws) -> None:
    """AWS refuses it a second time; a new one in its place is noticed."""
    made = account(**MFA)
    made.context.secrets.records["code"] = Secret("123456")
    fetcher = made.fetcher()
    assert isinstance(fetcher, SessionFetcher)
    await fetcher.fetch()
    fetcher.renounce()
    error = await failure(fetcher)
    assert isinstance(error, LoginRequired)
    assert "the MFA code was used; run: broker secret set code" in str(error)
    assert not fetcher.changed()
    made.context.secrets.records["code"] = Secret("654321")
    assert fetcher.changed()
    await fetcher.fetch()
    assert [asked["TokenCode"] for asked in aws.asked["GetSessionToken"]] == ["123456", "654321"]


async def test_a_command_that_prints_codes_is_asked_again_when_the_next_one_is_due(account: Open) -> None:
    """Within thirty seconds."""
    made = account(**MFA | {"mfa_code": Reference(command=("/bin/echo", "123456"))})
    fetcher = made.fetcher()
    assert isinstance(fetcher, SessionFetcher)
    await fetcher.fetch()
    fetcher.renounce()
    error = await failure(fetcher)
    assert isinstance(error, TransientFetchError)
    assert 0 < (error.retry_after_s or 0) <= 30


async def test_what_is_no_mfa_code_is_not_sent(account: Open, aws: FakeAws) -> None:
    """It may be the device's seed, which nobody should see."""
    made = account(**MFA)
    made.context.secrets.records["code"] = Secret("FAKESEEDFAKESEED")
    error = await failure(made.fetcher())
    assert "six digits" in str(error)
    assert "FAKESEED" not in str(error)
    assert not aws.calls


# --- one for all ----------------------------------------------------------------------------------------------------


async def test_twenty_credentials_of_one_role_cost_one_call(account: Open, aws: FakeAws) -> None:
    """Cold and all at once, of every kind."""
    made = account(role_arn=ROLE)
    aws.secrets["claude"] = {"SecretString": "fake-token-1"}
    kinds: list[dict[str, Any]] = [{}, {"kind": "bedrock-api-key"}, {"kind": "secretsmanager", "secret_id": "claude"}]
    issued = await asyncio.gather(*(made.fetcher(**kinds[number % 3]).fetch() for number in range(20)))
    assert aws.calls["AssumeRole"] == 1
    assert all(one.parts for one in issued)


async def test_a_refused_session_is_replaced_once_for_all(account: Open, aws: FakeAws) -> None:
    """Twenty sessions that were told 403 make one call."""
    made = account(role_arn=ROLE)
    fetchers = [made.fetcher() for _ in range(20)]
    before = await asyncio.gather(*(fetcher.fetch() for fetcher in fetchers))
    for fetcher in fetchers:
        assert isinstance(fetcher, SessionFetcher)
        fetcher.renounce()
    after = await asyncio.gather(*(fetcher.fetch() for fetcher in fetchers))
    assert aws.calls["AssumeRole"] == 2
    assert not {parts(one)["access_key_id"] for one in before} & {parts(one)["access_key_id"] for one in after}


def at(mono_s: float, set_s: float = 0.0) -> Now:
    """Say when, in seconds since the session was made; `set_s`: how far the time of day was set meanwhile."""
    return Now(1_800_000_000.0 + mono_s + set_s, 1000.0 + mono_s)


@pytest.mark.parametrize(
    ("now", "young", "usable"),
    [
        (at(0.24 * HOUR_S), True, True),
        (at(0.26 * HOUR_S), False, True),
        (at(HOUR_S - 50), False, False),
        (at(2 * HOUR_S), False, False),
        (at(60, -5 * HOUR_S), False, False),
        (at(60, 30), False, False),
    ],
)
def test_a_session_is_shared_while_it_is_young(now: Now, young: bool, usable: bool) -> None:  # noqa: FBT001  # parameters
    """For a quarter of its life; for calls while it lives; and not when the clock was set: its end is not known then."""
    session = Session(KEY_ID, Secret(SECRET_KEY), Secret("fake-token"), expires_at=at(HOUR_S).wall)
    kept = Kept(session, at(0))
    assert (kept.is_young(now), kept.is_usable(now)) == (young, usable)


@pytest.mark.parametrize(("age_s", "young"), [(59, True), (61, False)])
def test_keys_without_an_end_are_looked_at_again_after_a_minute(age_s: float, young: bool) -> None:  # noqa: FBT001  # a parameter
    """They may have been deactivated."""
    kept = Kept(Session(KEY_ID, Secret(SECRET_KEY)), at(0))
    assert (kept.is_young(at(age_s)), kept.is_usable(at(age_s))) == (young, young)


async def test_a_sign_in_makes_what_was_under_way_void(account: Open, aws: FakeAws) -> None:
    """Who asks afterwards gets a session of the new one, not of the old."""
    made = account(role_arn=ROLE)
    aws.gate.clear()
    before = asyncio.create_task(made.fetcher().fetch())
    await eventually(lambda: aws.calls["AssumeRole"] == 1)
    made.source.chain.forget()
    after = asyncio.create_task(made.fetcher().fetch())
    await asyncio.sleep(0)
    aws.gate.set()
    assert parts(await before) != parts(await after)
    assert parts(await made.fetcher().fetch()) == parts(await after)
    assert aws.calls["AssumeRole"] == 2


async def test_a_failure_is_one_call_for_all_who_ask(account: Open, aws: FakeAws) -> None:
    """And it is told to those who come within ten seconds, without another."""
    made = account(role_arn=ROLE)
    aws.failures["AssumeRole"] = (403, "AccessDenied", "no")
    await asyncio.gather(*(failure(made.fetcher()) for _ in range(20)))
    await failure(made.fetcher())
    assert aws.calls["AssumeRole"] == 1


async def test_who_stops_waiting_takes_nobodys_session_away(account: Open, aws: FakeAws) -> None:
    """The call goes on for the others."""
    made = account(role_arn=ROLE)
    aws.gate.clear()
    leaving, staying = (asyncio.create_task(made.fetcher().fetch()) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    aws.gate.set()
    assert (await staying).parts
    assert aws.calls["AssumeRole"] == 1


async def test_other_keys_in_the_references_place_are_used_at_once(account: Open, aws: FakeAws) -> None:
    """By every credential of the source, and once."""
    made = account(role_arn=ROLE)
    fetchers = [made.fetcher() for _ in range(3)]
    for fetcher in fetchers:
        await fetcher.fetch()
    made.context.secrets.records["aws"] = Secret("fake-secret-key-rotated")
    assert [fetcher.changed() for fetcher in fetchers] == [True] * 3
    await fetchers[0].fetch()
    assert [fetcher.changed() for fetcher in fetchers] == [False, True, True], "these hold a session of the old keys"
    for fetcher in fetchers[1:]:
        await fetcher.fetch()
    assert not any(fetcher.changed() for fetcher in fetchers)
    assert aws.calls["AssumeRole"] == 2


# --- the clock ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ahead_s", "told"), [(90.0, "90"), (-90.0, "-90"), (1.0, None)])
async def test_a_wrong_clock_is_measured_and_told(
    account: Open, aws: FakeAws, ahead_s: float, told: str | None
) -> None:
    """The end is by this machine's clock, as every SDK here compares it, and never too late."""
    aws.ahead_s = ahead_s
    issued = await account(role_arn=ROLE).fetcher().fetch()
    skew = issued.details.get("clock_skew_s")
    assert (skew is None) if told is None else (abs(int(skew or 0) - int(told)) <= 1)
    assert issued.expires_at is not None
    assert issued.expires_at <= time.time() + HOUR_S + 2


# --- what is loaded -------------------------------------------------------------------------------------------------


WITHOUT_AWS = """
import sys
from pathlib import Path
import broker.daemon.serving
from broker.config.reader import parse
from broker.sources import TYPES
config = parse('[credentials.one]\\nsource = "env"\\nname = "X"', Path("/config.toml"), TYPES, {})
for source in config.sources.values():
    source.type.open(source.settings, None)
print(sorted({"botocore", "boto3", "urllib3"} & set(sys.modules)))
"""


@pytest.mark.slow
def test_a_daemon_that_serves_no_aws_credential_does_not_load_botocore() -> None:
    """Nobody pays for it but who uses it."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_AWS], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == "[]\n"


async def test_what_takes_long_to_load_is_loaded_when_the_source_is_opened(
    aws: FakeAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when the first asks for keys; AWS is not asked for anything yet, and what is wrong waits for who asks."""
    made: list[str] = []
    client = Sdk.client

    def noted(sdk: Sdk, service: str, keys: Session | None) -> Any:  # noqa: ANN401  # botocore has no types
        try:
            return client(sdk, service, keys)
        finally:
            made.append(service)

    monkeypatch.setattr(Sdk, "client", noted)
    for number, profile in enumerate((None, "nobody"), 1):
        settings = AwsSourceSettings(profile=profile, endpoint_url=aws.address)
        source = TYPES["aws"].open(settings, FakeContext())
        await eventually(lambda count=number: len(made) == count)  # type: ignore[misc]  # a default binds it
        await source.close()
    assert not aws.calls


def test_only_botocore_is_loaded_and_not_boto3(account: Open) -> None:
    """It adds nothing that is used here, and 4 MB."""
    assert TYPES["aws"].kind(AwsSettings()) is Kind.AWS_SESSION
    assert TYPES["aws"].kind(AwsSettings(kind="bedrock-api-key")) is Kind.BEDROCK_API_KEY
    assert TYPES["aws"].kind(replace(AwsSettings(kind="ssm", parameter="/x"))) is Kind.API_KEY
    assert "boto3" not in sys.modules
