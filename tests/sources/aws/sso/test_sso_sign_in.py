"""The `aws` source's sign-in at IAM Identity Center, and out again, over a fake one that botocore's own model checks."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from broker.errors import LoginPending, LoginRequired, PermanentFetchError, TransientFetchError
from broker.sources.aws.sso.settings import SsoSettings
from broker.sources.interface import Fetcher
from tests.contracts.source_contract import AnySource, Harness, SourceThatWaits, failure
from tests.fakes.sso import ACCOUNT, REGION, ROLE, START_URL, USER_CODE, written
from tests.sources.aws.sso.place import BACK, Place, by_device, fetcher, session_token


class TestSsoSource(AnySource, SourceThatWaits):
    """It keeps what every source promises."""

    @pytest.fixture
    def harness(self, place: Place) -> Harness:
        """Drive one that somebody is signed in to."""
        source = place.source()
        place.sso.sign_in(Path.home())

        class Driven(Harness):
            def fetcher(self) -> Fetcher:
                return fetcher(source)

            def hang(self) -> None:
                place.sso.gate.clear()

            def release(self) -> None:
                place.sso.gate.set()

        return Driven()


# --- signing in -------------------------------------------------------------------------------------------------


async def test_a_device_code_is_shown_and_asked_about(place: Place) -> None:
    """As long as nobody confirms it, it is pending; then account and role give keys, and nothing is asked twice."""
    source = place.source()
    assert source.sign_in is not None
    assert source.sign_in.device
    place.sso.confirmed = None
    invitation = await source.begin_login(None)
    assert (invitation.user_code, invitation.interval_s, invitation.expires_in_s) == (USER_CODE, 1.0, 600.0)
    assert invitation.complete_url == f"{invitation.url}?user_code={USER_CODE}"
    for said, slower in (([], False), (["SlowDownException"], True)):
        place.sso.said = {"CreateToken": list(said)}
        with pytest.raises(LoginPending) as caught:
            await source.finish_login(invitation.state, None)
        assert caught.value.slow_down == slower
    place.sso.confirmed = True
    assert await source.finish_login(invitation.state, None)
    issued = await fetcher(source).fetch()
    assert session_token(issued).startswith("fake-session-token-")
    assert (issued.details["account_id"], issued.details["role"]) == (ACCOUNT, ROLE)
    assert issued.expires_at == pytest.approx(time.time() + 3600, abs=5)
    assert place.sso.calls["GetRoleCredentials"] == 1


async def test_a_browser_brings_the_code_back_and_pkce_ties_it_to_us(place: Place) -> None:
    """To the AWS CLI's page, on any port; the verifier stays in the daemon."""
    source = place.source()
    assert source.sign_in is not None
    assert source.sign_in.page is not None
    assert (source.sign_in.page.host, source.sign_in.page.port) == ("127.0.0.1", 0)
    assert urlsplit(BACK).path == source.sign_in.page.path
    invitation = await source.begin_login(BACK)
    assert invitation.user_code is None
    back = parse_qs(urlsplit(place.sso.allow(invitation.url)).query)
    assert back["state"] == [invitation.state]
    assert await source.finish_login(invitation.state, back["code"][0])
    assert session_token(await fetcher(source).fetch())


async def test_an_answer_counts_once_and_only_for_what_was_begun(place: Place) -> None:
    """A page that brings a code of somebody else's has us act as nobody."""
    source = place.source()
    with pytest.raises(PermanentFetchError, match="belongs to no sign-in that was begun; run: broker login corp"):
        await source.finish_login("fake-state", "fake-code")
    invitation = await source.begin_login(BACK)
    with pytest.raises(PermanentFetchError, match="belongs to no sign-in"):
        await source.finish_login("other-state", "fake-code")
    with pytest.raises(LoginRequired, match="run: broker login corp"):
        await source.finish_login(invitation.state, "stolen-code")
    with pytest.raises(PermanentFetchError, match="belongs to no sign-in"):
        await source.finish_login(invitation.state, "fake-code")
    assert not place.sso.tokens


@pytest.mark.parametrize(
    ("confirmed", "said", "says"),
    [
        (False, [], "the sign-in was refused; to try again run: broker login corp"),
        (True, ["ExpiredTokenException"], "nobody confirmed the code in time; run: broker login corp"),
    ],
)
async def test_what_ends_a_sign_in_names_the_command(
    place: Place, *, confirmed: bool, said: list[str], says: str
) -> None:
    """Refused by the person, or too late."""
    source = place.source()
    place.sso.confirmed = confirmed
    invitation = await source.begin_login(None)
    place.sso.said["CreateToken"] = said
    with pytest.raises(LoginRequired, match=says):
        await source.finish_login(invitation.state, None)


async def test_nobody_signed_in_names_the_command_and_asks_aws_nothing(place: Place) -> None:
    """However many ask; after the sign-in each is served at once, also by another source."""
    sources = [place.source(), place.source()]
    fetchers = [fetcher(source) for source in sources]
    for each in fetchers:
        error = await failure(each)
        assert isinstance(error, LoginRequired)
        assert "nobody is signed in; run: broker login corp" in str(error)
        assert not each.changed()
    assert not place.sso.calls
    await by_device(sources[0])
    assert fetchers[1].changed()
    assert session_token(await fetchers[0].fetch()) != session_token(await fetchers[1].fetch())


# --- signing out ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("expired", [True, False])
async def test_signing_out_ends_it_at_aws_and_here(place: Place, home: Path, *, shared: bool, expired: bool) -> None:
    """For all who share it; also where the token of the moment is dead: the refresh token lives longer."""
    source = place.source(shared_cache=shared)
    other = place.source(shared_cache=shared)
    place.sso.token_s = -1 if expired else 3600
    await by_device(source)
    place.sso.token_s = 3600
    assert await source.logout()
    assert place.sso.calls["Logout"] == 1
    assert not place.sso.refreshable
    assert not written(home)
    assert not await source.logout()
    for each in (source, other):
        assert isinstance(await failure(fetcher(each)), LoginRequired)


async def test_signing_out_while_aws_is_away_says_what_is_left(place: Place, home: Path) -> None:
    """Here it is forgotten all the same; a sign-in that was dead already is fine."""
    source = place.source()
    place.sso.sign_in(Path.home())
    place.sso.said["Logout"] = ["TooManyRequestsException"] * 2
    with pytest.raises(TransientFetchError, match="signed out here, but the sign-in lives on until its end"):
        await source.logout()
    assert not written(home)
    await by_device(source)
    place.sso.end()
    assert await source.logout()


# --- settings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"start_url": "http://corp.example/start"}, "start_url must be https"),
        ({"start_url": "corp"}, "start_url must be a URL"),
        ({"region": "europe"}, "region must be such as"),
        ({"account_id": "1"}, "12 digits"),
        ({"role_name": "a b"}, "role_name must be"),
        ({"session": "a]b"}, "session must be"),
        ({"session": "a", "shared_cache": False}, "session belongs to"),
    ],
)
def test_settings_that_cannot_work_are_told_when_the_config_is_read(wrong: dict[str, Any], says: str) -> None:
    """Not at the first sign-in."""
    good: dict[str, Any] = {"start_url": START_URL + "#/", "region": REGION, "account_id": ACCOUNT, "role_name": ROLE}
    SsoSettings(**good)
    with pytest.raises(ValueError, match=says):
        SsoSettings(**good | wrong)
