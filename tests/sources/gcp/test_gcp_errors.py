"""What the `gcp` source says of Google's refusals: what happened, and the command or setting that mends it."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from broker.durations import Duration
from broker.errors import LoginRequired, PermanentFetchError, TransientFetchError
from broker.sources.gcp.places import Apis
from tests.contracts.source_contract import failure, token_of
from tests.fakes.google import ACCOUNT, PERSON, TARGET, FakeGoogle, Reply, problem
from tests.sources.gcp.place import Place

GENERATE = f"/v1/projects/-/serviceAccounts/{TARGET}:generateAccessToken"
AGAIN = "run: gcloud auth application-default login"


def refused(error: str, description: str | None = None, **more: str) -> Reply:
    """Word a refusal as a token endpoint does."""
    return 400, {"error": error, **({} if description is None else {"error_description": description}), **more}


def answering(google: FakeGoogle, reply: Reply, path: str = "") -> None:
    """Answer so, at every path or this one."""
    google.answer = lambda _method, asked: reply if not path or asked == path else None


# --- a person must act ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (refused("invalid_grant", "Token has been expired or revoked."), "the sign-in has ended"),
        (refused("invalid_grant", "Bad Request"), "the sign-in has ended"),
        (
            refused("invalid_grant", "reauth related error (invalid_rapt)", error_subtype="invalid_rapt"),
            "sign in again",
        ),
        (refused("invalid_grant", "reauth related error", error_subtype="rapt_required"), "sign in again"),
    ],
)
async def test_a_users_sign_in_that_ended_names_the_command(google: FakeGoogle, reply: Reply, words: str) -> None:
    """Whether it was revoked or the organisation wants to see the person again, which gcloud's library says badly."""
    answering(google, reply)
    error = await failure(Place(google, google.authorized_user()).fetcher())
    assert isinstance(error, LoginRequired)
    assert words in str(error)
    assert str(error).endswith(AGAIN)


# --- the key --------------------------------------------------------------------------------------------------------


async def test_a_wrong_clock_is_told_with_how_wrong_it_is(google: FakeGoogle) -> None:
    """Google's answer has the right time in it; once the clock is right, it works without more."""
    fetcher = Place(google).fetcher()
    google.clock_ahead_s = 1800
    error = await failure(fetcher)
    assert isinstance(error, TransientFetchError)
    assert "Invalid JWT: this machine's clock is 30 min behind Google's" in str(error)
    assert "timedatectl set-ntp true" in str(error)
    google.clock_ahead_s = -1800
    assert "30 min ahead of Google's" in str(await failure(fetcher))
    google.clock_ahead_s = 0
    assert token_of(await fetcher.fetch())


async def test_a_token_that_is_dead_on_arrival_is_the_clocks_fault(google: FakeGoogle) -> None:
    """An impersonation's end is in Google's own time."""
    google.lifetime_s = -1800
    google.clock_ahead_s = -5400
    google.answer = lambda _method, path: (
        (200, {"access_token": google.mint(ACCOUNT, ()), "expires_in": 60}) if path == "/token" else None
    )
    error = await failure(Place(google, impersonate=TARGET).fetcher())
    assert isinstance(error, TransientFetchError)
    assert "is this machine's clock ahead by 90 min?" in str(error)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (refused("invalid_grant", "Invalid JWT Signature."), f"keys list --iam-account={ACCOUNT}"),
        (refused("invalid_grant", "Invalid grant: account not found"), "or the account disabled"),
        (refused("invalid_grant", "Invalid JWT: Token must be short-lived"), "check this machine's clock"),
        (refused("invalid_scope", "Bad Request"), "check `scopes` of the credential"),
        (refused("invalid_client", "The OAuth client was not found."), "check client_id and client_secret"),
        (refused("unauthorized_client"), "unauthorized_client; "),
        (refused("some_new_error", "Of a later year"), "some_new_error: Of a later year; check `credentials`"),
        ((403, {}), "refused with status 403"),
        ((418, {"error": ["odd"]}), "odd"),
    ],
)
async def test_a_key_that_is_refused_says_what_to_look_at(google: FakeGoogle, reply: Reply, words: str) -> None:
    """And is not tried again by itself: that would lock accounts and fill logs."""
    answering(google, reply)
    error = await failure(Place(google).fetcher())
    assert type(error) is PermanentFetchError
    assert words in str(error)


# --- trying again ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply", [(500, {}), (503, {}), (429, {}), (408, {}), refused("internal_failure"), refused("server_error", "x")]
)
async def test_what_may_pass_is_tried_again_later_and_once(google: FakeGoogle, reply: Reply) -> None:
    """When is the engine's business: the library's own tries would multiply with ours, and with every credential."""
    answering(google, reply)
    error = await failure(Place(google).fetcher())
    assert isinstance(error, TransientFetchError)
    assert google.calls["/token"] == 1


async def test_how_long_to_wait_is_heard(google: FakeGoogle) -> None:
    """`Retry-After` of a server that is asked too often."""
    answering(google, (429, {}))
    google.answer_headers = {"Retry-After": "120"}
    error = await failure(Place(google).fetcher())
    assert isinstance(error, TransientFetchError)
    assert error.retry_after_s == 120


async def test_a_server_that_does_not_answer_is_given_up_on_in_time(google: FakeGoogle) -> None:
    """Within the source's time-out and not the library's two minutes."""
    google.gate.clear()
    began = time.monotonic()
    error = await failure(Place(google, timeout=Duration(0.1)).fetcher())
    google.gate.set()
    assert isinstance(error, TransientFetchError)
    assert "no answer within 0.1 s" in str(error)
    assert time.monotonic() - began < 3


async def test_a_server_that_is_not_there_is_named(google: FakeGoogle) -> None:
    """With the setting that its address comes from."""
    error = await failure(Place(google, google.service_account(token_uri="http://127.0.0.1:1/token")).fetcher())
    assert isinstance(error, TransientFetchError)
    assert "http://127.0.0.1:1: nothing listens there" in str(error)
    assert "`credentials`" in str(error)


# --- impersonation --------------------------------------------------------------------------------------------------


async def test_a_missing_permission_names_role_account_and_command(google: FakeGoogle) -> None:
    """Ready to be pasted, or sent to the administrator."""
    google.may_act_as.clear()
    for settings in ({}, {"kind": "id-token", "target_audience": "x"}):
        error = await failure(Place(google, impersonate=TARGET).fetcher(**settings))
        assert type(error) is PermanentFetchError
        assert str(error) == (
            f"{google.address}: {ACCOUNT} may not act as {TARGET}; grant it roles/iam.serviceAccountTokenCreator: gcloud iam"
            f" service-accounts add-iam-policy-binding {TARGET} --role=roles/iam.serviceAccountTokenCreator"
            f" --member=serviceAccount:{ACCOUNT}"
        )
    user = await failure(Place(google, google.authorized_user(), impersonate=TARGET).fetcher())
    assert f"--member=user:{PERSON}" in str(user)


async def test_with_delegates_the_whole_chain_is_named(google: FakeGoogle) -> None:
    """Google does not say where it broke."""
    between = "between@corp-project.iam.gserviceaccount.com"
    error = await failure(Place(google, impersonate=TARGET, delegates=(between,)).fetcher())
    assert f"each of {ACCOUNT} -> {between} -> {TARGET} needs roles/iam.serviceAccountTokenCreator" in str(error)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (
            problem(
                403,
                "PERMISSION_DENIED",
                "x",
                "SERVICE_DISABLED",
                service="iamcredentials.googleapis.com",
                consumer="projects/123456",
            ),
            "run: gcloud services enable iamcredentials.googleapis.com --project=123456",
        ),
        (
            problem(
                403,
                "PERMISSION_DENIED",
                "IAM Service Account Credentials API has not been used in project 987654 before",
            ),
            "--project=987654",
        ),
        (
            problem(
                403,
                "PERMISSION_DENIED",
                "x",
                "SERVICE_DISABLED",
                service="x.googleapis.com",
                consumer="projects/764086051850",
            ),
            "set quota_project of the source",
        ),
        (problem(403, "PERMISSION_DENIED", "x", "USER_PROJECT_DENIED"), "roles/serviceusage.serviceUsageConsumer"),
        (problem(401, "UNAUTHENTICATED", "Request had invalid authentication credentials."), "check `credentials`"),
        (problem(404, "NOT_FOUND", "Unknown service account"), f"no service account {TARGET}; check `impersonate`"),
        (problem(400, "INVALID_ARGUMENT", "Request contains an invalid argument."), "invalid argument. (status 400)"),
        ((400, {"error": {"message": 7, "details": "odd"}}), "(status 400)"),
    ],
)
async def test_what_a_service_refuses_says_what_mends_it(google: FakeGoogle, reply: Reply, words: str) -> None:
    """An API that is not enabled, a quota project that may not be used, an account that is not there."""
    answering(google, reply, GENERATE)
    error = await failure(Place(google, impersonate=TARGET, quota_project="billed-project").fetcher())
    assert type(error) is PermanentFetchError
    assert words in str(error)


async def test_without_a_quota_project_one_is_asked_for(google: FakeGoogle) -> None:
    """A user's calls must be counted somewhere."""
    answering(
        google,
        problem(403, "PERMISSION_DENIED", "The API requires a quota project, which is not set by default."),
        GENERATE,
    )
    error = await failure(Place(google, impersonate=TARGET).fetcher())
    assert "set quota_project of the source to a project of yours" in str(error)


# --- Secret Manager -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (
            problem(403, "PERMISSION_DENIED", "Permission 'secretmanager.versions.access' denied"),
            f"{ACCOUNT} may not read secret claude of project corp-project; grant it roles/secretmanager.secretAccessor:",
        ),
        (
            problem(403, "PERMISSION_DENIED", "Permission 'secretmanager.versions.access' denied"),
            " gcloud secrets add-iam-policy-binding claude --project=corp-project",
        ),
        (None, "no such secret or version; see: gcloud secrets versions list claude --project=corp-project"),
        (
            problem(400, "FAILED_PRECONDITION", "Secret Version is in DISABLED state."),
            "Secret Version is in DISABLED state.; see: gcloud secrets versions list",
        ),
        (problem(409, "ABORTED", "odd"), "odd (status 409)"),
    ],
)
async def test_a_secret_that_cannot_be_read_says_why(google: FakeGoogle, reply: Reply | None, words: str) -> None:
    """With the role to ask for, or the command that shows what there is."""
    path = "/v1/projects/corp-project/secrets/claude/versions/latest:access"
    if reply is not None:
        answering(google, reply, path)
    error = await failure(Place(google).fetcher(kind="secret", secret="claude"))
    assert type(error) is PermanentFetchError
    assert words in str(error)


async def test_a_secret_needs_a_project(google: FakeGoogle, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's credentials tell none."""
    for name in ("GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    error = await failure(Place(google, google.authorized_user()).fetcher(kind="secret", secret="claude"))
    assert "of which project? Set project of the credential" in str(error)


@pytest.mark.parametrize(
    "answer", [{}, {"payload": 7}, {"payload": {"data": "?"}}, {"payload": {"data": "", "dataCrc32c": "x"}}]
)
async def test_an_answer_that_is_no_secret_is_an_error(google: FakeGoogle, answer: dict[str, Any]) -> None:
    """Whatever it is instead."""
    google.answer = lambda _method, path: (200, answer) if "secrets" in path else None
    await failure(Place(google).fetcher(kind="secret", secret="claude"))


# --- answers without sense ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"access_token": 7, "expires_in": 1},
        {"access_token": "a b", "expires_in": 9},
        {"access_token": "x", "expires_in": "?"},
    ],
)
async def test_an_answer_that_is_no_token_is_an_error(google: FakeGoogle, answer: dict[str, Any]) -> None:
    """Nothing that Claude Code would refuse is handed out."""
    answering(google, (200, answer))
    error = await failure(Place(google).fetcher())
    assert json.dumps(answer) not in str(error)


@pytest.mark.parametrize("token", [None, 7, "fake-no-jwt"])
async def test_an_id_token_that_is_none_is_an_error(google: FakeGoogle, token: object) -> None:
    """By either way."""
    answering(google, (200, {"token": token}), f"/v1/projects/-/serviceAccounts/{TARGET}:generateIdToken")
    await failure(Place(google, impersonate=TARGET).fetcher(kind="id-token", target_audience="x"))
    answering(google, (200, {"id_token": token}))
    await failure(Place(google).fetcher(kind="id-token", target_audience="x"))


async def test_nothing_of_the_key_is_in_an_error(google: FakeGoogle) -> None:
    """Not even when Google's answer quotes it."""
    document = google.authorized_user()
    answering(
        google,
        refused("invalid_grant", f"bad refresh_token {document['refresh_token']} of {document['client_secret']}"),
    )
    error = await failure(Place(google, document).fetcher())
    assert "fake-refresh" not in str(error)
    assert "fake-client-secret" not in str(error)


def test_other_addresses_of_the_services_are_checked() -> None:
    """They get tokens."""
    with pytest.raises(ValueError, match=r"iamcredentials must be https, as others on the network can read http$"):
        Apis(iamcredentials="http://evil.example")
