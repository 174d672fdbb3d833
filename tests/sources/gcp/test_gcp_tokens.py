"""What the `gcp` source gives: access tokens and ID tokens, by itself or as another, and secrets."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from broker.errors import PermanentFetchError, TransientFetchError
from broker.model import Kind
from broker.sources.references import Reference
from tests.contracts.source_contract import (
    OTHER,
    VALUE,
    failure,
    token_of,
)
from tests.fakes.google import ACCOUNT, AUDIENCE, PERSON, TARGET, FakeGoogle
from tests.sources.gcp.place import Place

CLOUD = "https://www.googleapis.com/auth/cloud-platform"
STORAGE = "https://www.googleapis.com/auth/devstorage.read_only"
SERVICE = "https://gateway.example"
SECRET = "projects/corp-project/secrets/claude"


# --- access tokens --------------------------------------------------------------------------------------------------


async def test_a_service_account_gives_tokens_of_the_scopes_that_are_wanted(google: FakeGoogle) -> None:
    """With the true end, and with what a metadata server has to tell beside it."""
    issued = await Place(google, quota_project="billed-project").fetcher(scopes=(STORAGE,)).fetch()
    assert google.tokens[token_of(issued)].who == ACCOUNT
    assert google.tokens[token_of(issued)].scopes == (STORAGE,)
    assert issued.kind is Kind.ACCESS_TOKEN
    assert issued.expires_at == pytest.approx(time.time() + 3600, abs=5)
    assert issued.details == {
        "email": ACCOUNT,
        "project_id": "corp-project",
        "quota_project": "billed-project",
        "universe_domain": "googleapis.com",
        "scopes": STORAGE,
    }


async def test_every_fetch_gets_another_token(google: FakeGoogle) -> None:
    """Google's library keeps a token until 3:45 before its end; when a new one is due is the engine's business."""
    fetcher = Place(google).fetcher()
    assert token_of(await fetcher.fetch()) != token_of(await fetcher.fetch())
    assert google.calls["/token"] == 2


async def test_a_new_key_is_noticed_and_used(google: FakeGoogle) -> None:
    """Where the reference can tell; its next reading uses it in any case."""
    place = Place(google)
    fetcher = place.fetcher()
    await fetcher.fetch()
    assert not fetcher.changed()
    place.write(google.authorized_user())
    assert fetcher.changed()
    assert google.tokens[token_of(await fetcher.fetch())].who == PERSON


async def test_a_key_in_a_file_may_have_many_lines_but_no_other_readers(google: FakeGoogle, tmp_path: Path) -> None:
    """As it was downloaded; open to others it is refused, with the command that mends it."""
    file = tmp_path / "key.json"
    file.write_text(json.dumps(google.service_account(), indent=2) + "\n")
    file.chmod(0o644)
    fetcher = Place(google, credentials=Reference(file=str(file))).fetcher()
    assert f"chmod go= {file}" in str(await failure(fetcher))
    file.chmod(0o600)
    assert google.tokens[token_of(await fetcher.fetch())].who == ACCOUNT


async def test_a_users_sign_in_of_gclouds_is_refreshed(google: FakeGoogle) -> None:
    """With the scopes that it agreed to."""
    issued = await Place(google, google.authorized_user(quota_project_id="their-project")).fetcher().fetch()
    assert google.tokens[token_of(issued)].who == PERSON
    assert (issued.details["email"], issued.details["quota_project"]) == (PERSON, "their-project")


async def test_a_workforce_users_sign_in_is_refreshed_also_when_its_refresh_token_changes(google: FakeGoogle) -> None:
    """The exchange may give another one for the next time."""
    document = google.authorized_user(
        type="external_account_authorized_user",
        audience="//iam.googleapis.com/locations/global/workforcePools/fake/providers/fake",
        token_url=f"{google.address}/v1/oauthtoken",
    )
    fetcher = Place(google, document).fetcher()
    google.refresh_tokens["fake-refresh-2"] = (CLOUD,)
    google.answer = lambda _method, _path: (
        200,
        {"access_token": "ya29.fake-first", "expires_in": 3600, "refresh_token": "fake-refresh-2"},
    )
    assert token_of(await fetcher.fetch()) == "ya29.fake-first"
    google.answer = lambda _method, _path: None
    assert google.tokens[token_of(await fetcher.fetch())].who == PERSON
    assert google.bodies["/v1/oauthtoken"]["refresh_token"] == "fake-refresh-2"


# --- impersonation --------------------------------------------------------------------------------------------------


async def test_a_service_account_is_impersonated(google: FakeGoogle) -> None:
    """Of its own scopes, whoever asks; the token of who asks is not given to anybody."""
    issued = await Place(google, impersonate=TARGET).fetcher(scopes=(STORAGE,)).fetch()
    assert google.tokens[token_of(issued)].who == TARGET
    assert google.tokens[token_of(issued)].scopes == (STORAGE,)
    assert (issued.details["email"], issued.details["project_id"]) == (TARGET, "other-project")


async def test_a_token_of_who_asks_that_died_early_is_replaced(google: FakeGoogle) -> None:
    """It is used for as long as it should live; one fetch finds out, and does not fail for it."""
    fetcher = Place(google, impersonate=TARGET).fetcher()
    await fetcher.fetch()
    await fetcher.fetch()
    assert google.calls["/token"] == 1
    google.tokens.clear()
    assert google.tokens[token_of(await fetcher.fetch())].who == TARGET
    assert google.calls["/token"] == 2


async def test_an_impersonation_through_delegates_names_them_all(google: FakeGoogle) -> None:
    """Each of them must be allowed to act as the next one."""
    between = "between@corp-project.iam.gserviceaccount.com"
    google.may_act_as = {(ACCOUNT, between), (between, TARGET)}
    place = Place(google, impersonate=TARGET, delegates=(between,))
    assert google.tokens[token_of(await place.fetcher().fetch())].who == TARGET
    assert place.source is not None
    id_token = await place.fetcher(kind="id-token", target_audience=SERVICE).fetch()
    assert id_token.details["email"] == TARGET


async def test_a_json_of_an_impersonation_is_followed(google: FakeGoogle) -> None:
    """As gcloud writes it for `--impersonate-service-account`."""
    document = {
        "type": "impersonated_service_account",
        "service_account_impersonation_url": f"{google.address}/v1/projects/-/serviceAccounts/{TARGET}:generateAccessToken",
        "source_credentials": google.authorized_user(),
    }
    google.may_act_as = {(PERSON, TARGET)}
    assert google.tokens[token_of(await Place(google, document).fetcher().fetch())].who == TARGET


async def test_a_workload_may_impersonate_too(google: FakeGoogle, tmp_path: Path) -> None:
    """As its JSON says, for as long as that says."""
    file = tmp_path / "token"
    file.write_text(google.subject_token)
    google.may_act_as = {(AUDIENCE, TARGET)}
    document = google.external_account(
        {"file": str(file)},
        service_account_impersonation_url=f"{google.address}/v1/projects/-/serviceAccounts/{TARGET}:generateAccessToken",
        service_account_impersonation={"token_lifetime_seconds": 1800},
    )
    assert google.tokens[token_of(await Place(google, document).fetcher().fetch())].who == TARGET
    path = f"/v1/projects/-/serviceAccounts/{TARGET}:generateAccessToken"
    assert google.bodies[path]["lifetime"] == "1800s"


# --- ID tokens ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("impersonate", [None, TARGET])
async def test_an_id_token_is_for_one_service(google: FakeGoogle, impersonate: str | None) -> None:
    """By a service account itself or by impersonation, with its own end."""
    issued = await Place(google, impersonate=impersonate).fetcher(kind="id-token", target_audience=SERVICE).fetch()
    assert issued.kind is Kind.ID_TOKEN
    assert issued.details == {"target_audience": SERVICE, "email": impersonate or ACCOUNT}
    assert issued.expires_at == pytest.approx(time.time() + 3600, abs=5)


async def test_a_user_has_no_id_token_for_a_service_and_is_told_what_has(google: FakeGoogle) -> None:
    """Google gives a user's ID tokens for the application that they signed in to alone."""
    error = await failure(Place(google, google.authorized_user()).fetcher(kind="id-token", target_audience=SERVICE))
    assert isinstance(error, PermanentFetchError)
    assert "authorized_user credentials give no ID tokens" in str(error)
    assert "set impersonate" in str(error)


# --- Secret Manager -------------------------------------------------------------------------------------------------


async def test_a_secret_is_read_by_version_and_field(google: FakeGoogle) -> None:
    """The latest one unless a number is named; a field where it is JSON."""
    google.secrets[SECRET] = [json.dumps({"keys": [{"key": VALUE}]}).encode(), OTHER.encode()]
    place = Place(google, quota_project="billed-project")
    first = await place.fetcher(kind="secret", secret=SECRET, version=1, field="keys.0.key").fetch()
    assert (token_of(first), first.details["version"]) == (VALUE, "1")
    latest = await place.fetcher(kind="secret", secret="claude", project="corp-project").fetch()
    assert (token_of(latest), latest.details["version"]) == (OTHER, "2")
    assert google.headers[f"/v1/{SECRET}/versions/latest:access"]["x-goog-user-project"] == "billed-project"


async def test_a_secret_that_was_damaged_on_its_way_is_not_served(google: FakeGoogle) -> None:
    """Google states a checksum; what does not match it is asked for again."""
    google.answer = lambda _method, path: (
        (200, {"name": "x/versions/1", "payload": {"data": "ZmFrZQ==", "dataCrc32c": "1"}})
        if "secrets" in path
        else None
    )
    error = await failure(Place(google).fetcher(kind="secret", secret="claude"))
    assert isinstance(error, TransientFetchError)
    assert "checksum" in str(error)
