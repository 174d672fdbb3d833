"""The `oauth` source's sign-in by a person, and out again, over a fake provider (tests/real/test_oauth.py has a real one)."""

from __future__ import annotations

import base64
import hashlib
from urllib.parse import parse_qs, urlsplit

import pytest

from broker.errors import LoginPending, LoginRequired, PermanentFetchError, TransientFetchError
from broker.sign_in import Page, SignIn
from broker.sources.oauth.settings import OAuthSourceSettings
from broker.sources.oauth.source import OAuthSource
from tests.contracts.source_contract import failure, token_of
from tests.fakes.context import FakeContext
from tests.sources.oauth.sign_in.conftest import Sources
from tests.sources.oauth.sign_in.place import BACK, COMMAND

# --- by a device code -------------------------------------------------------------------------------------------


async def test_a_device_sign_in_shows_where_to_go_and_what_to_type(sources: Sources) -> None:
    """It asks for what all credentials want together, and for a refresh token."""
    place = sources(token_audience="gateway")
    place.fetcher(scope="a b", resource="https://one.example/")
    place.fetcher(scope="b c", token="id_token")
    assert place.source.sign_in == SignIn(device=True)
    invitation = await place.source.begin_login(None)
    assert (invitation.url, invitation.user_code) == (f"{place.idp.address}/activate", "ABCD-EFGH")
    assert (invitation.expires_in_s, invitation.interval_s, invitation.complete_url) == (60.0, 1.0, None)
    assert place.idp.form == {
        "scope": "openid a b c offline_access",
        "audience": "gateway",
        "resource": "https://one.example/",
        "client_id": "me",
    }


async def test_a_code_is_asked_about_until_it_is_confirmed(sources: Sources) -> None:
    """`slow_down` makes the pauses longer, and is no error."""
    place = sources()
    fetcher = place.fetcher(scope="a")
    invitation = await place.source.begin_login(None)
    for error, slower in [("authorization_pending", False), ("slow_down", True)]:
        place.idp.fail(error)
        with pytest.raises(LoginPending) as pending:
            await place.source.finish_login(invitation.state, None)
        assert pending.value.slow_down is slower
    del place.idp.script["/token"]
    assert await place.source.finish_login(invitation.state, None)
    assert place.idp.form["device_code"] == "fake-device-code"
    assert token_of(await fetcher.fetch()).startswith("fake-access-")
    assert len(place.idp.forms) == 4, "the sign-in's own token is the first"


@pytest.mark.parametrize("error", ["expired_token", "access_denied"])
async def test_a_code_that_is_refused_or_too_late_ends_the_sign_in(sources: Sources, error: str) -> None:
    """It names the command."""
    place = sources()
    invitation = await place.source.begin_login(None)
    place.idp.fail(error)
    with pytest.raises(LoginRequired, match=f"{error}.*{COMMAND}"):
        await place.source.finish_login(invitation.state, None)
    with pytest.raises(PermanentFetchError, match="belongs to no sign-in"):
        await place.source.finish_login(invitation.state, None)


@pytest.mark.parametrize(
    "answer",
    [{}, {"device_code": "x", "user_code": "y"}, {"device_code": "a b", "user_code": "y", "verification_uri": "z"}],
)
async def test_an_odd_invitation_is_an_error(sources: Sources, answer: dict[str, str]) -> None:
    """Nobody is sent anywhere."""
    place = sources()
    place.idp.script["/device"] = (200, answer)
    with pytest.raises(PermanentFetchError, match="lacks a code or an address"):
        await place.source.begin_login(None)


async def test_odd_times_of_an_invitation_are_the_usual_ones(sources: Sources) -> None:
    """However wrong they are."""
    place = sources()
    fields = {"device_code": "x", "user_code": "y", "verification_url": "https://login.example/"}
    place.idp.script["/device"] = (200, {**fields, "expires_in": -1, "interval": []})
    invitation = await place.source.begin_login(None)
    assert (invitation.url, invitation.expires_in_s, invitation.interval_s) == ("https://login.example/", 300.0, 5.0)


async def test_an_endpoint_that_the_provider_does_not_have_is_named(sources: Sources) -> None:
    """With the setting that would give it."""
    place = sources()
    del place.idp.metadata["device_authorization_endpoint"]
    with pytest.raises(PermanentFetchError, match="set device_url, or another flow"):
        await place.source.begin_login(None)


# --- by a page --------------------------------------------------------------------------------------------------


async def test_the_address_ties_the_answer_to_us(sources: Sources) -> None:
    """PKCE: who steals the code on its way through the browser lacks the verifier, which never left the daemon."""
    place = sources(flow="authorization-code", authorize_params={"hd": "corp.example"}, token_audience="gateway")
    place.fetcher(scope="a", resource="https://one.example/")
    place.fetcher(scope="a", resource="https://two.example/")
    invitation = await place.source.begin_login(BACK)
    parts = urlsplit(invitation.url)
    query = parse_qs(parts.query)
    challenge = query.pop("code_challenge")[0]
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{place.idp.address}/authorize"
    assert query == {
        "tenant": ["1"],
        "response_type": ["code"],
        "client_id": ["me"],
        "redirect_uri": [BACK],
        "scope": ["a offline_access"],
        "state": [invitation.state],
        "prompt": ["consent"],
        "hd": ["corp.example"],
        "audience": ["gateway"],
        "resource": ["https://one.example/", "https://two.example/"],
        "code_challenge_method": ["S256"],
    }
    assert await place.source.finish_login(invitation.state, "fake-code")
    form = place.idp.form
    assert (form["code"], form["redirect_uri"], form["client_id"]) == ("fake-code", BACK, "me")
    digest = hashlib.sha256(form["code_verifier"].encode()).digest()
    assert base64.urlsafe_b64encode(digest).decode().rstrip("=") == challenge


async def test_a_provider_whose_answers_name_it_is_held_to_that(sources: Sources) -> None:
    """Who takes the browser's answer is told which name it must bear (RFC 9207); of others none is demanded."""
    place = sources(flow="authorization-code")
    assert (await place.source.begin_login(BACK)).issuer is None
    place.idp.metadata["authorization_response_iss_parameter_supported"] = True
    place.restart()
    assert (await place.source.begin_login(BACK)).issuer == place.idp.address


async def test_an_answer_counts_once_and_only_for_what_was_begun(sources: Sources) -> None:
    """A page that brings a code of somebody else's does not have us act as them, nor spoil the sign-in."""
    place = sources(flow="authorization-code")
    with pytest.raises(PermanentFetchError, match=COMMAND):
        await place.source.finish_login("", "fake-code")
    invitation = await place.source.begin_login(BACK)
    with pytest.raises(PermanentFetchError, match="belongs to no sign-in"):
        await place.source.finish_login("other-state", "fake-code")
    with pytest.raises(PermanentFetchError, match="in another way"):
        await place.source.finish_login(invitation.state, None)
    place.idp.fail("invalid_grant", "no such code")
    with pytest.raises(PermanentFetchError, match="finish the sign-in"):
        await place.source.finish_login(invitation.state, "fake-code")
    with pytest.raises(PermanentFetchError, match="belongs to no sign-in"):
        await place.source.finish_login(invitation.state, "fake-code")


def test_the_page_is_the_one_that_the_provider_knows() -> None:
    """Or any, where nothing is said; a device code is offered where the config has its endpoint."""
    urls = {"authorize_url": "https://login.example/a", "token_url": "https://login.example/t"}

    def way(**settings: str) -> SignIn | None:
        wanted = {"flow": "authorization-code", "client_id": "me", **urls, **settings}
        return OAuthSource(OAuthSourceSettings(**wanted), FakeContext()).sign_in  # type: ignore[arg-type]  # as in the config

    assert way() == SignIn(Page())
    known = way(redirect_uri="http://localhost:8250/callback", device_url="https://login.example/d")
    assert known == SignIn(Page("localhost", 8250, "/callback"), device=True)


async def test_a_source_in_another_flow_has_no_sign_in() -> None:
    """It says so."""
    settings = OAuthSourceSettings("client-credentials", "me", token_url="https://login.example/t")
    source = OAuthSource(settings, FakeContext())
    assert source.sign_in is None
    with pytest.raises(PermanentFetchError, match="nobody signs in here"):
        await source.begin_login(None)


# --- out again --------------------------------------------------------------------------------------------------


async def test_signing_out_tells_the_provider(sources: Sources) -> None:
    """And leaves nothing here."""
    place = sources()
    assert not await place.source.logout()
    await place.sign_in()
    before = place.idp.live
    assert await place.source.logout()
    assert (place.idp.form["token"], place.idp.form["token_type_hint"]) == (before, "refresh_token")
    assert place.context.login.record is None
    assert isinstance(await failure(place.fetcher()), LoginRequired)


async def test_signing_out_where_nobody_can_be_told_says_so(sources: Sources) -> None:
    """Or there is no way to tell."""
    place = sources()
    await place.sign_in()
    place.idp.script["/revoke"] = (500, b"")
    with pytest.raises(TransientFetchError, match="signed out here, but the provider could not be told"):
        await place.source.logout()
    assert place.context.login.record is None
    del place.idp.metadata["revocation_endpoint"]
    place.restart()
    await place.sign_in()
    assert await place.source.logout()


async def test_signing_out_gives_back_what_another_client_was_given(sources: Sources) -> None:
    """Also when `client_id` was changed since: else the provider would honour the refresh token for months."""
    place = sources()
    await place.sign_in()
    before = place.idp.live
    place.restart(client_id="another")
    assert await place.source.logout()
    assert (place.idp.form["token"], place.idp.form["client_id"]) == (before, "me")
    assert place.context.login.record is None
    assert not await place.source.logout()


async def test_signing_out_names_who_still_knows_a_sign_in(sources: Sources) -> None:
    """Where a client that the config no longer has cannot give it back, or the provider itself was changed."""
    place = sources()
    await place.sign_in()
    place.idp.script["/revoke"] = (401, {"error": "invalid_client"})
    place.restart(client_id="another")
    still = f"signed out here, but {place.idp.address} still knows the sign-in of client me; end it there"
    with pytest.raises(TransientFetchError, match=f"{still}: .*refused"):
        await place.source.logout()
    place.restart()
    await place.sign_in()
    told = place.idp.calls["/revoke"]
    place.restart(issuer=None, token_url="https://elsewhere.example/t", device_url="https://elsewhere.example/d")
    with pytest.raises(TransientFetchError, match=f"{still}$"):
        await place.source.logout()
    assert place.idp.calls["/revoke"] == told, "the present client's secret is not for another provider"
    assert place.context.login.record is None
