"""What is kept of a sign-in, and that its refresh token is spent once, by one refresh at a time."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from datetime import datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.errors import LoginRequired, PermanentFetchError, TransientFetchError
from broker.secret import Secret
from broker.sources.oauth.kept import Kept
from broker.sources.oauth.settings import OAuthSourceSettings
from tests.contracts.source_contract import PATIENCE_S, eventually, failure, token_of
from tests.sources.oauth.sign_in.conftest import Sources
from tests.sources.oauth.sign_in.place import COMMAND

# --- what is kept -----------------------------------------------------------------------------------------------


async def test_nobody_signed_in_names_the_command_and_asks_nobody(sources: Sources) -> None:
    """However many credentials ask."""
    place = sources()
    for _ in range(2):
        error = await failure(place.fetcher())
        assert isinstance(error, LoginRequired)
        assert str(error) == f"{place.idp.address}: nobody is signed in; {COMMAND}"
    assert not place.idp.calls


async def test_a_kept_sign_in_serves_the_next_daemon(sources: Sources) -> None:
    """And the one after: each refresh stores the token that the next one needs."""
    place = sources()
    assert await place.sign_in()
    for number in range(3):
        place.restart()
        await place.fetcher(scope="a").fetch()
        assert place.kept["refresh_token"] == place.idp.live
        assert (place.kept["flight"], place.idp.calls["/token"]) == (None, number + 2)
    assert place.idp.reuses == 0


@pytest.mark.parametrize("changed", [{"client_id": "other"}, {"token_url": "http://127.0.0.1:1/token"}])
async def test_a_kept_token_goes_to_no_other_place(sources: Sources, changed: dict[str, str]) -> None:
    """Whoever has the config point elsewhere does not get it."""
    place = sources()
    await place.sign_in()
    place.restart(**changed)
    assert isinstance(await failure(place.fetcher()), LoginRequired)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.text()
    | st.dictionaries(st.sampled_from(["refresh_token", "ended", "flight", "scope"]), st.none() | st.text()).map(
        json.dumps
    )
)
def test_any_broken_record_is_as_good_as_none(record: str) -> None:
    """Signing in mends it."""
    settings = OAuthSourceSettings("device", "me", issuer="https://login.example")
    assert Kept.read(Secret(record), settings) is None


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.from_regex(r"[!-~]{1,50}", fullmatch=True), st.text(), st.none() | st.from_regex(r"[!-~]{1,50}", fullmatch=True)
)
def test_what_is_kept_is_read_as_it_was_written(token: str, scope: str, key: str | None) -> None:
    """For the same place."""
    settings = OAuthSourceSettings("device", "me", issuer="https://login.example")
    kept = Kept(Secret(token), scope, None if key is None else Secret(key))
    assert Kept.read(kept.record(settings), settings) == kept


async def test_a_provider_that_gives_no_refresh_token_is_signed_in_to_again(sources: Sources) -> None:
    """Its token serves until then."""
    place = sources()
    fetcher = place.fetcher()
    place.idp.script["/token"] = (200, {"access_token": "fake-access", "expires_in": 60})
    assert not await place.sign_in()
    assert token_of(await fetcher.fetch()) == "fake-access"
    error = await failure(fetcher)
    assert isinstance(error, LoginRequired)
    assert "offline_access" in str(error)
    assert await place.source.logout(), "there was one, though there is nothing to revoke"
    assert not await place.source.logout()


async def test_a_refresh_token_that_is_good_for_ever_stays(sources: Sources) -> None:
    """Not every provider rotates."""
    place = sources()
    place.idp.rotates = False
    await place.sign_in()
    before = place.idp.live
    fetcher = place.fetcher(scope="a")
    first, second = token_of(await fetcher.fetch()), token_of(await fetcher.fetch())
    assert first != second
    assert place.kept["refresh_token"] == before


@pytest.mark.parametrize("name", ["refresh_token_expires_in", "refresh_expires_in"])
async def test_how_long_a_sign_in_lasts_is_shown_where_the_provider_says(sources: Sources, name: str) -> None:
    """`broker status` has it, and the doctor warns a day ahead."""
    place = sources()
    await place.sign_in()
    fetcher = place.fetcher(scope="a")
    assert "sign_in_ends" not in (await fetcher.fetch()).details
    place.idp.extra[name] = 3600
    ends = datetime.fromisoformat((await fetcher.fetch()).details["sign_in_ends"])
    assert 3590 < ends.timestamp() - time.time() <= 3600
    place.idp.extra[name] = 0  # as Keycloak says never
    assert "sign_in_ends" not in (await fetcher.fetch()).details


async def test_an_ended_sign_in_is_told_and_not_shown_again(sources: Sources) -> None:
    """Not by the next daemon either."""
    place = sources()
    await place.sign_in()
    place.idp.live = None
    for _ in range(2):
        place.restart()
        error = await failure(place.fetcher(scope="a"))
        assert isinstance(error, LoginRequired)
        assert "the sign-in has ended" in str(error)
        assert str(error).endswith(COMMAND)
    assert place.idp.calls["/token"] == 2
    await place.sign_in()
    assert await place.fetcher(scope="a").fetch()


async def test_other_refusals_and_trouble_leave_the_sign_in(sources: Sources) -> None:
    """Mended, it goes on with the same refresh token."""
    place = sources()
    await place.sign_in()
    fetcher = place.fetcher(scope="a")
    place.idp.fail("invalid_client")
    assert isinstance(await failure(fetcher), PermanentFetchError)
    place.idp.script["/token"] = (502, b"")
    assert isinstance(await failure(fetcher), TransientFetchError)
    place.idp.script["/token"] = (429, b"")
    place.idp.headers["Retry-After"] = "7"
    error = await failure(fetcher)
    assert isinstance(error, TransientFetchError)
    assert error.retry_after_s == 7
    del place.idp.script["/token"]
    await fetcher.fetch()
    assert place.idp.reuses == 0


async def test_what_was_not_agreed_to_wants_a_new_sign_in(sources: Sources) -> None:
    """A credential with another scope was added since."""
    place = sources()
    await place.sign_in()
    place.idp.fail("invalid_scope")
    error = await failure(place.fetcher(scope="more"))
    assert isinstance(error, LoginRequired)
    assert "does not cover what the credential wants" in str(error)


# --- one refresh at a time --------------------------------------------------------------------------------------


async def test_twenty_credentials_that_want_the_same_are_one_refresh(sources: Sources) -> None:
    """Each refresh token is good once."""
    place = sources()
    await place.sign_in()
    fetchers = [place.fetcher(scope="a") for _ in range(20)]
    tokens = {token_of(issued) for issued in await asyncio.gather(*(fetcher.fetch() for fetcher in fetchers))}
    assert (len(tokens), place.idp.calls["/token"]) == (1, 2)
    again = token_of(await fetchers[0].fetch())
    assert again not in tokens, "who asks again wants another one"
    assert token_of(await fetchers[1].fetch()) == again


async def test_credentials_that_want_different_things_take_turns(sources: Sources) -> None:
    """And each gets its own."""
    place = sources()
    await place.sign_in()
    scopes = [f"scope-{number}" for number in range(10)]
    tokens = await asyncio.gather(*(place.fetcher(scope=scope).fetch() for scope in scopes))
    assert len({token_of(issued) for issued in tokens}) == 10
    assert [form["scope"] for form in place.idp.forms[-10:]] == scopes
    assert place.idp.reuses == 0


@pytest.mark.parametrize("charset", ["utf-16", "idna", "undefined", "unicode_escape", "nonsense"])
async def test_an_answer_under_a_wrong_name_costs_no_sign_in(sources: Sources, charset: str) -> None:
    """JSON is UTF-8, whatever `Content-Type` says: the next refresh token is read out of it all the same."""
    place = sources()
    fetchers = [place.fetcher(scope=scope) for scope in "ab"]
    await place.sign_in()
    place.idp.headers["Content-Type"] = f"application/json; charset={charset}"
    for fetcher in fetchers:
        assert token_of(await fetcher.fetch()).startswith("fake-access-")
    assert place.idp.reuses == 0


@pytest.mark.parametrize("name", ["expires_in", "expires_at", "refresh_expires_in"])
@pytest.mark.parametrize("odd", ["59.5", "soon", float("nan"), 10**400, -2e11, [1]], ids=lambda odd: str(odd)[:9])
async def test_an_odd_time_in_an_answer_loses_no_refresh_token(sources: Sources, odd: object, name: str) -> None:
    """The answer may be of no use; the refresh token that came with it is the only good one by then."""
    place = sources()
    fetchers = [place.fetcher(scope="a") for _ in range(2)]
    await place.sign_in()
    place.idp.extra[name] = odd
    for fetcher in fetchers:
        with suppress(TransientFetchError):
            await fetcher.fetch()
    del place.idp.extra[name]
    assert token_of(await fetchers[0].fetch()).startswith("fake-access-")
    assert place.idp.reuses == 0


async def test_a_refresh_token_may_be_of_any_letters(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    """It need not be a key that Claude Code would take: RFC 6749 (A.17) lets it have blanks."""
    place = sources()
    monkeypatch.setattr(place.idp, "born", lambda: "fake refresh token")
    place.idp.live = "fake refresh token"
    place.idp.rotates = False
    await place.sign_in()
    place.restart()
    await place.fetcher().fetch()
    assert place.idp.form["refresh_token"] == "fake refresh token"


async def test_a_fetch_that_is_given_up_loses_nothing(sources: Sources) -> None:
    """Its refresh goes on, and the next fetch has what it gave."""
    place = sources()
    await place.sign_in()
    fetcher = place.fetcher(scope="a")
    place.idp.gate.clear()
    asking = asyncio.create_task(fetcher.fetch())
    await eventually(lambda: place.idp.calls["/token"] == 2)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    place.idp.gate.set()
    await fetcher.fetch()
    assert (place.idp.calls["/token"], place.idp.reuses) == (2, 0)


async def test_a_new_config_takes_over_in_the_middle_of_a_refresh(sources: Sources) -> None:
    """The old source ends what it began; the new one waits for it."""
    place = sources()
    await place.sign_in()
    place.idp.gate.clear()
    old = asyncio.create_task(place.fetcher(scope="a").fetch())
    await eventually(lambda: place.idp.calls["/token"] == 2)
    left = place.source
    place.restart()
    new = asyncio.create_task(place.fetcher(scope="a").fetch())
    closing = asyncio.create_task(left.close())
    await asyncio.sleep(0)
    place.idp.gate.set()
    await asyncio.wait_for(asyncio.gather(old, new, closing), PATIENCE_S)
    assert place.idp.reuses == 0
    assert place.kept["refresh_token"] == place.idp.live
