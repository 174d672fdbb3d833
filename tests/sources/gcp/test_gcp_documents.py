"""Credentials' JSONs that somebody else wrote, and the addresses that they may name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from broker.errors import PermanentFetchError
from broker.sources.gcp import document, places
from tests.contracts.source_contract import (
    failure,
)
from tests.fakes.google import FakeGoogle
from tests.sources.gcp.place import Place

# --- a JSON that somebody else wrote --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"token_uri": "https://oauth2.googleapis.com.evil.example/token"},
        {"token_uri": "http://oauth2.googleapis.com/token"},
        {"token_uri": "https://oauth2.googleapis.com@evil.example/token"},
        {"token_uri": "https://evil.example\\@oauth2.googleapis.com/token"},
        {"token_uri": ["https://oauth2.googleapis.com/token"]},
        {"universe_domain": "evil.example"},
        {"type": "external_account", "token_url": "https://evil.example/v1/token"},
        {
            "type": "external_account",
            "service_account_impersonation_url": "https://evil.example/v1/x@y:generateAccessToken",
        },
        {"type": "external_account", "credential_source": {"url": "http://evil.example/token"}},
        {"type": "external_account", "credential_source": {"url": "file:///etc/passwd"}},
        {
            "type": "external_account",
            "credential_source": {"environment_id": "aws1", "url": "https://evil.example/keys"},
        },
        {"type": "impersonated_service_account", "source_credentials": {"type": "authorized_user", "token_uri": "x"}},
        {"type": "web"},
        {"type": None},
    ],
)
async def test_an_address_that_is_not_googles_gets_nothing(google: FakeGoogle, changes: dict[str, Any]) -> None:
    """A signed assertion that is sent elsewhere is as good as a token of the account's."""
    error = await failure(Place(google, google.service_account() | changes).fetcher())
    assert isinstance(error, PermanentFetchError)
    assert "PRIVATE KEY" not in str(error)
    assert not google.calls


@pytest.mark.parametrize(
    "document", [{}, [], "fake-key", {"type": "service_account"}, {"type": "authorized_user", "refresh_token": 7}]
)
async def test_a_json_that_is_none_is_an_error_of_ours(google: FakeGoogle, document: Any) -> None:  # noqa: ANN401  # JSON
    """Whatever it is."""
    assert isinstance(await failure(Place(google, document).fetcher()), PermanentFetchError)


async def test_names_in_a_json_do_not_get_into_commands_that_people_paste(google: FakeGoogle) -> None:
    """An account called `x; rm -rf ~` is none."""
    hostile = google.service_account(client_email="a@b; rm -rf ~", project_id="$(id)", quota_project_id="a\r\nb")
    google.answer = lambda _method, _path: (
        400,
        {"error": "invalid_grant", "error_description": "Invalid JWT Signature."},
    )
    error = await failure(Place(google, hostile).fetcher())
    assert "--iam-account=ACCOUNT" in str(error)
    google.answer = lambda _method, _path: (200, {"access_token": "ya29.fake", "expires_in": 3600})
    assert (await Place(google, hostile).fetcher().fetch()).details.keys() == {"universe_domain", "scopes"}


def test_a_document_does_not_show_itself(google: FakeGoogle) -> None:
    """Printing it, as a log would, shows no key."""
    read = document.read(json.dumps(google.service_account()), "here", "googleapis.com")
    assert "PRIVATE KEY" not in repr(read)


def test_which_addresses_a_token_may_be_sent_to() -> None:
    """Google's own and those of a universe that the config names, over TLS, and this machine."""
    for url in ("https://oauth2.googleapis.com/token", "https://sts.europe-west1.rep.googleapis.com/v1/token"):
        assert places.is_googles(url, "googleapis.com")
    assert places.is_googles("https://sts.cloud.example/v1/token", "cloud.example")
    assert not places.is_googles("https://sts.cloud.example/v1/token", "googleapis.com")
    assert not places.is_googles("https://oauth2.googleapis.com:99999/token", "googleapis.com")


def test_where_googles_services_are() -> None:
    """By their names, of the universe and region; other addresses are what the config says."""
    apis = places.Apis(secretmanager="https://secretmanager.corp.example/")
    assert places.address(apis, "iamcredentials", "cloud.example") == "https://iamcredentials.cloud.example"
    assert places.address(apis, "secretmanager", "googleapis.com", "eu") == "https://secretmanager.corp.example"
    regional = places.address(places.Apis(), "secretmanager", "googleapis.com", "europe-west1")
    assert regional == "https://secretmanager.europe-west1.rep.googleapis.com"
    assert places.address(apis, "accounts", "googleapis.com") == "https://accounts.google.com"
