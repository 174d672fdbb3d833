"""What a provider refuses, and how: what is told, what is tried again, and what never shows."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.errors import FetchError, PermanentFetchError, TransientFetchError
from broker.sources.oauth.transport import retry_after_s
from broker.sources.references import Reference
from tests.contracts.source_contract import failure
from tests.fakes.oauth import FakeProvider, fake_provider
from tests.sources.oauth.conftest import Sources
from tests.sources.oauth.place import SECRET

SUBJECT = Reference(local="subject")


@pytest.mark.parametrize(
    ("error", "mends"),
    [
        ("invalid_client", "client_auth"),
        ("unauthorized_client", "administrator"),
        ("unsupported_grant_type", "flow"),
        ("invalid_scope", "scope"),
        ("invalid_target", "resource"),
        ("invalid_grant", "expired"),
        ("access_denied", "administrator"),
        ("whatever_else", ""),
    ],
)
async def test_an_error_answer_stays_until_somebody_acts(sources: Sources, error: str, mends: str) -> None:
    """Asked again and again, it locks the client out; the line says which endpoint, which error and what to do."""
    place = sources()
    place.idp.fail(error, "AADSTS7000215: no\x1b[2J good")
    found = await failure(place.fetcher())
    assert isinstance(found, PermanentFetchError)
    told = f"{place.idp.address}/token: get a token (client-credentials): {error} (AADSTS7000215: no good)"
    assert str(found).startswith(told)
    assert mends in str(found)


@pytest.mark.parametrize("error", ["server_error", "temporarily_unavailable"])
async def test_a_provider_in_trouble_is_tried_again(sources: Sources, error: str) -> None:
    """These two are OAuth's words for the statuses 500 and 503."""
    place = sources()
    place.idp.fail(error)
    assert isinstance(await failure(place.fetcher()), TransientFetchError)


async def test_what_was_sent_is_not_quoted(sources: Sources) -> None:
    """A provider may name what it refuses."""
    place = sources(flow="jwt-bearer")
    place.idp.fail("invalid_grant", f"'{SECRET}' or fake-subject-1 is bad")
    said = str(await failure(place.fetcher(subject_token=SUBJECT)))
    assert "fake-" not in said
    assert "invalid_grant" in said
    place.idp.fail("fake-subject-1")
    assert "fake-" not in str(await failure(place.fetcher(subject_token=SUBJECT))), "nor as the error's name"


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        ((500, {"error": "invalid_grant"}), TransientFetchError, "status 500"),
        ((503, b"busy"), TransientFetchError, "status 503"),
        ((429, {"error": "invalid_request"}), TransientFetchError, "asked too often"),
        ((401, b"<html>"), PermanentFetchError, "status 401"),
        ((404, b"<html>"), PermanentFetchError, "check `token_url`"),
        ((400, b"<html>"), TransientFetchError, "no OAuth provider's"),
        ((200, b"<html>"), TransientFetchError, "no OAuth provider's"),
        ((200, []), TransientFetchError, "no OAuth provider's"),
        ((200, b"\xff\xfe"), TransientFetchError, "no OAuth provider's"),
        ((400, {"error": {"a": 1}, "error_description": ["x"]}), PermanentFetchError, "an error"),
        ((200, {"error": "odd\x1b[2Jcode"}), PermanentFetchError, "an error"),
        ((200, b"x" * (4 * 1024 * 1024 + 1)), TransientFetchError, "has more than 4 MiB"),
    ],
)
async def test_every_odd_answer_has_its_words(
    sources: Sources, reply: tuple[int, object], kind: type[FetchError], words: str
) -> None:
    """Trouble of the network's or the server's goes away by itself, a wrong address does not."""
    place = sources()
    place.idp.script["/token"] = reply
    error = await failure(place.fetcher())
    assert isinstance(error, kind)
    assert words in str(error)


async def test_a_provider_may_say_when_to_come_back(sources: Sources) -> None:
    """In seconds, here."""
    place = sources()
    place.idp.headers["Retry-After"] = "17"
    place.idp.script["/token"] = (429, {})
    error = await failure(place.fetcher())
    assert isinstance(error, TransientFetchError)
    assert error.retry_after_s == 17


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text())
def test_any_retry_after_is_a_pause_or_none(text: str) -> None:
    """Whatever stands there."""
    assert 0 <= retry_after_s(text, 0.0) < 1e12


def test_a_date_to_come_back_at_is_read() -> None:
    """RFC 9110 has both forms."""
    assert retry_after_s("Thu, 01 Jan 1970 00:01:40 GMT", 40.0) == 60.0


async def test_no_secret_follows_a_redirect(sources: Sources, idp: FakeProvider) -> None:
    """A sign-in page before the network, or somebody who would like to have it."""
    with fake_provider() as other:
        idp.headers["Location"] = f"{other.address}/token"
        idp.script["/token"] = (307, b"")
        error = await failure(sources().fetcher())
        assert "no secret follows" in str(error)
        assert not other.calls


async def test_nothing_there_is_said_and_comes_back(sources: Sources) -> None:
    """The address may be right, and the network gone."""
    place = sources(token_url="http://127.0.0.1:1/token")
    error = await failure(place.fetcher())
    assert isinstance(error, TransientFetchError)
    assert "nothing listens there" in str(error)
    assert "`token_url`" in str(error)
