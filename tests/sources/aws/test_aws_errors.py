"""What AWS refuses, and what is wrong before it is asked: in words, with what mends it, and without a secret."""

from __future__ import annotations

import re
import socket
import ssl
from typing import Any

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.errors import FetchError, LoginRequired, PermanentFetchError, TransientFetchError
from broker.secret import Secret
from broker.sources.aws.errors import Call, translated
from broker.sources.aws.refusals import KeysRefused
from broker.sources.aws.settings import AwsSourceSettings
from broker.sources.aws.skew import Skew
from broker.sources.aws.wording import Unauthorized, said
from broker.sources.references import Reference
from tests.contracts.source_contract import failure
from tests.fakes.aws import USER, FakeAws, fake_aws
from tests.sources.aws.conftest import ROLE, Account, Open

NOT_AUTHORIZED = f"User: {USER} is not authorized to perform: sts:AssumeRole on resource: {ROLE}"


MAX = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
CHAIN = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining."


@pytest.mark.parametrize(
    ("refusal", "kind", "expected"),
    [
        (
            (403, "AccessDenied", NOT_AUTHORIZED),
            PermanentFetchError,
            f"assume {ROLE}: {USER} may not sts:AssumeRole; its",
        ),
        ((403, "AccessDenied", NOT_AUTHORIZED), PermanentFetchError, "may want an external_id or MFA (mfa_serial)"),
        ((403, "AccessDenied", "Access denied"), PermanentFetchError, f"{USER} may not AssumeRole; its permissions"),
        ((400, "ValidationError", MAX), PermanentFetchError, "lower `duration`, or raise the role's maximum"),
        ((400, "ValidationError", CHAIN), PermanentFetchError, "a role that a role assumes has at most 1h"),
        ((403, "RegionDisabledException", "STS is not activated"), PermanentFetchError, "set another `region`"),
        ((403, "InvalidClientTokenId", "token is invalid"), KeysRefused, "keys to begin with are not valid"),
        ((403, "ExpiredToken", "token is expired"), KeysRefused, "have expired; store new ones where"),
        ((403, "SignatureDoesNotMatch", "does not match"), KeysRefused, "is the secret key that of the key id?"),
        ((400, "Throttling", "Rate exceeded"), TransientFetchError, "asked too often"),
        ((503, "ServiceUnavailable", ""), TransientFetchError, "asked too often, or not ready (ServiceUnavailable)"),
        ((500, "Strange", "something broke"), TransientFetchError, "AWS fails (something broke)"),
        ((400, "MalformedPolicyDocument", "bad policy"), PermanentFetchError, "bad policy"),
    ],
)
async def test_a_refusal_is_told_with_what_mends_it(
    account: Open, aws: FakeAws, refusal: tuple[int, str, str], kind: type[FetchError], expected: str
) -> None:
    """Who may not do what on which role; and whether trying again makes sense."""
    aws.failures["AssumeRole"] = refusal
    error = await failure(account(role_arn=ROLE).fetcher())
    assert isinstance(error, kind)
    assert expected in str(error)


async def test_a_wrong_external_id_is_among_the_reasons(account: Open, aws: FakeAws) -> None:
    """AWS does not say which of a trust policy's conditions failed."""
    aws.failures["AssumeRole"] = (403, "AccessDenied", NOT_AUTHORIZED)
    error = await failure(account(role_arn=ROLE, external_id="fake-external-id").fetcher())
    assert "may want another external_id than the one set here" in str(error)
    assert "fake-external-id" not in str(error)


async def test_a_session_cannot_have_a_session_token(account: Open, aws: FakeAws) -> None:
    """Of a role, or of a sign-in by SSO."""
    message = "Cannot call GetSessionToken with session credentials"
    aws.failures["GetSessionToken"] = (403, "AccessDenied", message)
    assert "remove get_session_token and mfa_serial" in str(await failure(account(get_session_token=True).fetcher()))


async def test_a_wrong_mfa_code_waits_for_the_next(account: Open, aws: FakeAws) -> None:
    """It may have been used elsewhere."""
    aws.failures["GetSessionToken"] = (
        403,
        "AccessDenied",
        "MultiFactorAuthentication failed with invalid MFA one time pass code. ",
    )
    mfa: dict[str, Any] = {"mfa_serial": "arn:aws:iam::111111111111:mfa/me", "mfa_code": Reference(local="code")}
    made = account(**mfa)
    made.context.secrets.records["code"] = Secret("123456")
    error = await failure(made.fetcher())
    assert isinstance(error, TransientFetchError)
    assert error.retry_after_s == 30
    assert "refuses the MFA code" in str(error)
    assert "123456" not in str(error)


@pytest.mark.parametrize(
    ("code", "kind", "expected"),
    [
        ("ExpiredTokenException", TransientFetchError, "the web identity token has expired"),
        ("InvalidIdentityToken", PermanentFetchError, "check the identity provider"),
        ("IDPRejectedClaim", PermanentFetchError, "conditions in the role's trust policy"),
        ("IDPCommunicationError", TransientFetchError, "not ready"),
        ("AccessDenied", PermanentFetchError, "must name the token's issuer"),
    ],
)
async def test_a_web_identity_that_is_refused_hides_its_token(
    account: Open, aws: FakeAws, code: str, kind: type[FetchError], expected: str
) -> None:
    """STS quotes what it did not like of it."""
    made = account(web_identity_token=Reference(credential="jwt"), role_arn=ROLE)
    made.context.tokens["jwt"] = Secret("fake.jwt.one")
    aws.failures["AssumeRoleWithWebIdentity"] = (400, code, "token fake.jwt.one is bad")
    error = await failure(made.fetcher())
    assert isinstance(error, kind)
    assert expected in str(error)
    assert "fake.jwt.one" not in str(error)


async def test_a_signature_that_the_clock_spoils_says_so(account: Open, aws: FakeAws) -> None:
    """A laptop that slept, a virtual machine that was paused: the keys are right."""
    aws.ahead_s = 600
    aws.failures["AssumeRole"] = (403, "SignatureDoesNotMatch", "Signature expired: 2026 is now earlier than 2026")
    error = await failure(account(role_arn=ROLE).fetcher())
    assert isinstance(error, TransientFetchError)
    assert "this machine's clock is 600 s behind AWS's; set it" in str(error).replace("599 s", "600 s")


SECRET: dict[str, Any] = {"kind": "secretsmanager", "secret_id": "claude"}
PARAMETER: dict[str, Any] = {"kind": "ssm", "parameter": "claude"}
NOT_READ = f"User: {USER} is not authorized to perform: secretsmanager:GetSecretValue on resource: claude"


@pytest.mark.parametrize(
    ("wanted", "code", "message", "expected"),
    [
        (SECRET, "ResourceNotFoundException", "no", "read claude: it is not there"),
        (SECRET, "AccessDeniedException", NOT_READ, f"{USER} may not secretsmanager:GetSecretValue"),
        (SECRET, "DecryptionFailure", "no key", "read claude: no key"),
        (PARAMETER, "ParameterNotFound", "no", "read claude: it is not there"),
        (PARAMETER, "ThrottlingException", "no", "asked too often"),
    ],
)
async def test_a_secret_that_is_not_to_be_had_says_why(
    aws: FakeAws, wanted: dict[str, Any], code: str, message: str, expected: str
) -> None:
    """Not there, not allowed, not readable."""
    aws.failures["GetSecretValue"] = aws.failures["GetParameter"] = (400, code, message)
    made = Account(aws)
    assert expected in str(await failure(made.fetcher(**wanted)))
    await made.source.close()


async def test_keys_of_nobody_are_not_handed_out(account: Open, aws: FakeAws) -> None:
    """Who gets them would be told by AWS; a person should be told what to mend."""
    aws.callers.clear()
    error = await failure(account().fetcher())
    assert isinstance(error, PermanentFetchError)
    assert "use these keys: the keys to begin with are not valid" in str(error)


async def test_that_nobody_says_whose_keys_they_are_is_no_reason_to_keep_them(account: Open, aws: FakeAws) -> None:
    """A policy may forbid the question, or STS be out of reach from here."""
    aws.failures["GetCallerIdentity"] = (403, "AccessDenied", "no")
    issued = await account().fetcher().fetch()
    assert "arn" not in issued.details


async def test_nobody_there_is_told_by_address(aws: FakeAws) -> None:
    """And what to look at."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        made = Account(aws, endpoint_url=address, role_arn=ROLE)
        error = await failure(made.fetcher())
    assert isinstance(error, TransientFetchError)
    assert f"{address}: nothing listens there (connection refused); check the network" in str(error)
    await made.source.close()


@pytest.mark.parametrize("answer", ["<html>Sign in to the hotel's network</html>", "", "<a/>"])
async def test_an_answer_that_is_not_awss_is_an_error_of_ours(
    account: Open, aws: FakeAws, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    """A captive portal says 200 to everything."""
    monkeypatch.setattr(aws, "handle", lambda *_call: (200, answer))
    await failure(account(role_arn=ROLE).fetcher())


def test_whatever_botocore_raises_becomes_an_error_of_ours() -> None:
    """None of its exceptions crosses, whatever it is about."""
    import botocore.exceptions as library  # noqa: PLC0415  # to go through all of it

    tried = Call("assume", AwsSourceSettings(profile="corp"), Skew())
    facts = dict.fromkeys(("error", "endpoint_url", "error_msg", "profile", "path", "provider", "proxy_url"), "x")
    for made in _every(library, facts):
        worded = translated(made, tried)
        assert type(worded) is not FetchError
        assert isinstance(worded, FetchError)
        assert str(worded).isprintable()


def _every(library: Any, facts: dict[str, str]) -> list[Exception]:  # noqa: ANN401  # a module
    made: list[Exception] = [ValueError("odd"), OSError(2, "No such file")]
    for class_ in vars(library).values():
        if isinstance(class_, type) and issubclass(class_, library.BotoCoreError):
            try:
                made.append(class_(**facts))
            except (KeyError, TypeError):
                continue
    assert len(made) > 20
    return made


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("UnauthorizedSSOTokenError", LoginRequired, "run: aws sso login --profile corp"),
        ("SSOTokenLoadError", LoginRequired, "run: aws sso login --profile corp"),
        ("LoginRefreshRequired", LoginRequired, "run: aws login --profile corp"),
        ("ProfileNotFound", PermanentFetchError, "there is no AWS profile corp; mend `profile`"),
        ("ConfigParseError", PermanentFetchError, "/x: cannot be read as an AWS config file"),
        ("NoCredentialsError", PermanentFetchError, "set `profile` of the source"),
        ("NoRegionError", PermanentFetchError, "set `region` of the source"),
        ("ReadTimeoutError", TransientFetchError, "no answer in time"),
        ("ProxyConnectionError", TransientFetchError, "the proxy of the environment"),
        ("CredentialRetrievalError", TransientFetchError, "no role"),
        ("PartialCredentialsError", PermanentFetchError, "keys of profile corp are incomplete: aws_secret is missing"),
    ],
)
def test_what_is_wrong_on_this_side_names_the_command_or_setting(
    name: str, kind: type[FetchError], expected: str
) -> None:
    """An expired SSO sign-in above all."""
    import botocore.exceptions as library  # noqa: PLC0415  # by name

    facts = {
        "cred_var": "aws_secret",
        "error_msg": "no role",
        "path": "/x",
        "profile": "corp",
        "provider": "x",
        "error": "x",
        "proxy_url": "http://p",
    }
    worded = translated(
        getattr(library, name)(endpoint_url="https://sts.example", **facts),
        Call("find an AWS identity", AwsSourceSettings(profile="corp"), Skew()),
    )
    assert isinstance(worded, kind)
    assert expected in str(worded)


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (socket.gaierror(-2, "Name or service not known"), "its name is not known (DNS)"),
        (OSError(113, "No route to host"), "cannot be reached (No route to host)"),
        (ValueError("odd"), "cannot be reached (EndpointConnectionError)"),
    ],
)
def test_an_endpoint_that_is_not_reached_says_why(cause: Exception, expected: str) -> None:
    """As the system has it, below what two libraries wrap it in."""
    import botocore.exceptions as library  # noqa: PLC0415  # late, as everywhere

    wrapped = RuntimeError("pool", cause)
    error = library.EndpointConnectionError(endpoint_url="https://sts.example/?Action=x", error=wrapped)
    worded = translated(error, Call("assume", AwsSourceSettings(), Skew()))
    assert isinstance(worded, TransientFetchError)
    assert f"https://sts.example: {expected}" in str(worded)


async def test_tls_that_fails_says_why(aws: FakeAws) -> None:
    """A server that speaks http, and one whose certificate nobody knows (a proxy that looks into TLS)."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)
    with fake_aws(tls) as unknown:
        for address, expected in ((aws.address, "TLS fails"), (unknown.address, "is not to be trusted")):
            made = Account(aws, endpoint_url=address.replace("http:", "https:"), role_arn=ROLE)
            error = await failure(made.fetcher())
            assert isinstance(error, TransientFetchError)
            assert expected in str(error)
            await made.source.close()


# --- wording --------------------------------------------------------------------------------------------------------


SECRETS = st.text(alphabet=st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=8, max_size=60)


@settings(max_examples=60)
@given(st.text(max_size=60), st.lists(SECRETS, min_size=1, max_size=3), st.sampled_from(["", ": ", "=", ROLE, "/"]))
def test_no_secret_is_in_what_aws_said(before: str, secrets: list[str], between: str) -> None:
    """Wherever it stands in the message; and it is one line."""
    line = said(before + between + between.join(secrets), [Secret(text) for text in secrets])
    assert not [text for text in secrets if text in line and text not in ROLE + "*" * 99]
    assert line.isprintable()


def test_arns_stay_readable_and_encoded_messages_do_not() -> None:
    """The first are what to mend, the second are policies of the account."""
    sso = "arn:aws:sts::123456789012:assumed-role/AWSReservedSSO_AdministratorAccess_0123456789abcdef/me@example.com"
    line = said(f"User: {sso} is not authorized. Encoded authorization failure message: {'Zm9v' * 90}", [])
    assert line == f"User: {sso} is not authorized. Encoded authorization failure message: ***"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (NOT_AUTHORIZED, Unauthorized(USER, "sts:AssumeRole", ROLE)),
        (f"{NOT_AUTHORIZED} because no identity-based policy", Unauthorized(USER, "sts:AssumeRole", ROLE)),
        (f"User: {USER} is not authorized to perform: ssm:GetParameter", Unauthorized(USER, "ssm:GetParameter", None)),
        ("Access denied", None),
    ],
)
def test_who_may_not_do_what_is_read_from_the_message(line: str, expected: Unauthorized | None) -> None:
    """As IAM words it."""
    assert Unauthorized.of(line) == expected


def test_a_date_that_is_none_measures_nothing() -> None:
    """Whoever answers may write what it likes there."""
    skew = Skew()
    for date in (None, "", "yesterday", "Mon, 99 Foo 2026 00:00:00 GMT", "9" * 400):
        skew.note(date)
    assert (skew.seconds, skew.words) == (0.0, "")


WHOLE = "<AssumeRoleResponse><AssumeRoleResult><Credentials><SecretAccessKey>fake-secret-1</SecretAccessKey>"
END = "<Expiration>tomorrow</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"


@pytest.mark.parametrize(
    "answer", ["", WHOLE, WHOLE + END, "<html><body>Sign in to the WLAN</body></html>", "{}", "\0"]
)
async def test_an_answer_without_sense_is_asked_for_again_and_not_quoted(
    account: Open, aws: FakeAws, answer: str
) -> None:
    """One that was cut off on the way, or came from a proxy's page: the next try may be better, and keys may be in it."""
    aws.nonsense["AssumeRole"] = answer
    error = await failure(account(role_arn=ROLE).fetcher())
    assert isinstance(error, TransientFetchError)
    assert str(error).startswith(f"assume {ROLE}: an answer without sense (")
    assert "fake-secret" not in str(error)


async def test_an_answer_without_end_is_not_read_to_its_end(account: Open, aws: FakeAws) -> None:
    """A server that sends more than AWS ever would takes no more memory than that, and is told of."""
    aws.nonsense["AssumeRole"] = "<a>" * 4_000_000
    error = await failure(account(role_arn=ROLE).fetcher())
    assert isinstance(error, TransientFetchError)
    assert "its answer has more than 1 MiB" in str(error)


async def test_a_session_that_has_ended_by_our_clock_tells_of_the_clock(account: Open, aws: FakeAws) -> None:
    """Where nothing is signed, AWS does not mind a clock that is ahead; but all it gives seems to be over."""
    aws.ahead_s = -7200.0
    error = await failure(account(role_arn=ROLE).fetcher())
    assert isinstance(error, TransientFetchError)
    # The answer's Date has whole seconds.
    assert re.search(r"this machine's clock is 720[01] s ahead of AWS's", str(error))
