"""Credentials' JSONs of every kind with something wrong in them: the source gives a token or one of its errors."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import suppress
from random import Random
from typing import Any, Final

import pytest

from broker.errors import FetchError
from tests.contracts.source_contract import failure
from tests.fakes.google import TARGET, FakeGoogle, fake_google
from tests.sources.gcp.place import Place

pytestmark = pytest.mark.slow

ROUNDS: Final = 40
WRONG: Final[tuple[Any, ...]] = (
    None,
    7,
    "",
    [],
    {},
    "x",
    True,
    "http://127.0.0.1:1/x",
    ["a"],
    {"a": 1},
    "a" * 300,
    "\0",
    "\xfc",
    1e400,
    -1,
)
ODD: Final = (
    "quota_project_id",
    "project_id",
    "account",
    "delegates",
    "service_account_impersonation",
    "universe_domain",
)


@pytest.fixture(scope="module")
def google() -> Iterator[FakeGoogle]:
    """Run one Google for all."""
    with fake_google() as google:
        yield google


def sound(google: FakeGoogle) -> list[dict[str, Any]]:
    """Write one of each kind."""
    signed = {"environment_id": "aws1", "regional_cred_verification_url": "https://sts.{region}.amazonaws.com"}
    by_json = {"type": "json", "subject_token_field_name": "value"}
    url = f"{google.address}/v1/projects/-/serviceAccounts/{TARGET}:generateAccessToken"
    workforce = {
        "type": "external_account_authorized_user",
        "audience": "//iam.googleapis.com/locations/global/workforcePools/fake/providers/fake",
        "token_url": f"{google.address}/v1/oauthtoken",
    }
    return [
        google.service_account(),
        google.authorized_user(),
        google.authorized_user(**workforce),
        google.external_account({"file": "/etc/hostname"}),
        google.external_account({"url": f"{google.address}/subject", "format": by_json}),
        google.external_account({"executable": {"command": "true"}}),
        google.external_account(signed, subject_token_type="urn:ietf:params:aws:token-type:aws4_request"),
        {
            "type": "impersonated_service_account",
            "service_account_impersonation_url": url,
            "source_credentials": google.authorized_user(),
            "delegates": [TARGET],
        },
    ]


def spoil(document: dict[str, Any], random: Random) -> None:
    """Put something wrong somewhere, also deeper."""
    within = [document, *(value for value in document.values() if isinstance(value, dict))]
    place = random.choice(within)
    place[random.choice([*place, *ODD])] = random.choice(WRONG)


@pytest.mark.parametrize("kind", range(8))
async def test_whatever_is_wrong_is_an_error_of_ours(google: FakeGoogle, kind: int) -> None:
    """In one line, without anything secret; no library's exception gets out."""
    random = Random(kind)
    for _ in range(ROUNDS):
        document = copy.deepcopy(sound(google)[kind])
        spoil(document, random)
        wanted = random.choice([{}, {"kind": "id-token", "target_audience": "x"}])
        fetcher = Place(google, document, allow_executable=True).fetcher(**wanted)
        with suppress(pytest.fail.Exception):  # what was spoilt may not matter
            error = await failure(fetcher)
            assert isinstance(error, FetchError)
            assert not any(word in str(error) for word in ("PRIVATE", "fake-refresh", "fake-client-secret"))
