"""The `oauth` source's sign-in by a person, and its refresh tokens, over a fake provider.

The courier (broker/sources/oauth/courier.py) works in this process here; tests/real/test_oauth.py has a real one.
"""

from __future__ import annotations

import asyncio
import base64
import fcntl
import hashlib
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.errors import (
    LoginPending,
    LoginRequired,
    PermanentFetchError,
    TransientFetchError,
)
from broker.secret import Secret
from broker.sign_in import Page, SignIn
from broker.sources.interface import Fetcher
from broker.sources.oauth import courier, flight, seal
from broker.sources.oauth.flight import Flight
from broker.sources.oauth.kept import Kept
from broker.sources.oauth.settings import OAuthSettings, OAuthSourceSettings
from broker.sources.oauth.source import OAuthSource
from broker.sources.references import Reference
from broker.sources.web.server import Server
from tests.contracts.source_contract import PATIENCE_S, eventually, failure, token_of
from tests.fakes.context import FakeContext
from tests.fakes.oauth import FakeProvider, fake_provider

BACK = "http://127.0.0.1:8250/"
COMMAND = "run: broker login corp"


class Killed(BaseException):
    """The process ends here."""


class Courier:
    """Stands in for the child process: does the job at once, in this thread, holding the file as the child would."""

    dies_before: bool = False
    dies_after: bool = False

    def __init__(self, descriptor: int) -> None:
        self._descriptor = os.dup(descriptor)

    def communicate(self, job: bytes, _timeout_s: float) -> None:
        """Work."""
        try:
            if self.dies_before:
                return
            if self.dies_after:
                parsed = json.loads(job)
                os.write(self._descriptor, f"{parsed['mark']}\n".encode())
                courier.ask(Server(**parsed["server"]), parsed["request"])
                return
            courier.work(json.loads(job), self._descriptor)
        finally:
            os.close(self._descriptor)


class Place:
    """A source at the fake provider, opened by one daemon after the other with the same store."""

    def __init__(self, idp: FakeProvider, **settings: Any) -> None:  # noqa: ANN401  # any setting
        self.idp = idp
        self.context = FakeContext()
        self.settings = {"flow": "device", "client_id": "me", "issuer": idp.address, **settings}
        self.opened: list[OAuthSource] = []
        self.restart()

    def restart(self, **settings: Any) -> None:  # noqa: ANN401  # any setting
        """Open it as the next daemon does."""
        self.source = OAuthSource(OAuthSourceSettings(**{**self.settings, **settings}), self.context)
        self.opened.append(self.source)

    def fetcher(self, **settings: Any) -> Fetcher:  # noqa: ANN401  # any setting
        """Bind one credential."""
        return self.source.fetcher(OAuthSettings(**settings), "work")

    async def sign_in(self) -> bool:
        """Do it by a device code."""
        invitation = await self.source.begin_login(None)
        return await self.source.finish_login(invitation.state, None)

    @property
    def kept(self) -> dict[str, Any]:
        """What is stored."""
        assert self.context.login.record is not None
        found: dict[str, Any] = json.loads(self.context.login.record.reveal())
        return found


Sources = Callable[..., Place]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a state folder, and a courier in this process."""
    monkeypatch.setenv("BROKER_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr(flight, "_courier", Courier)
    return tmp_path / "state"


@pytest.fixture
def idp(state: Path) -> Iterator[FakeProvider]:
    """Give a provider that has everything."""
    with fake_provider() as idp:
        idp.extra["expires_in"] = 3600
        idp.metadata = {
            "issuer": idp.address,
            "token_endpoint": f"{idp.address}/token",
            "device_authorization_endpoint": f"{idp.address}/device",
            "authorization_endpoint": f"{idp.address}/authorize?tenant=1",
            "revocation_endpoint": f"{idp.address}/revoke",
            "scopes_supported": ["openid", "offline_access"],
        }
        yield idp


@pytest.fixture
async def sources(idp: FakeProvider) -> AsyncIterator[Sources]:
    """Give `sources(key=...)`, which sets up a source at it."""
    made: list[Place] = []

    def sources_(**settings: Any) -> Place:  # noqa: ANN401  # any setting
        made.append(Place(idp, **settings))
        return made[-1]

    yield sources_
    idp.gate.set()
    for place in made:
        for source in place.opened:
            await source.close()


def files(state: Path) -> list[bytes]:
    """Read what lies in the state folder."""
    return [path.read_bytes() for path in state.glob("*")]


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


# --- the end at any moment --------------------------------------------------------------------------------------


async def test_an_answer_that_nobody_stored_is_taken_in_by_the_next_daemon(
    sources: Sources, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the provider's answer and our store: the new refresh token is in the sealed file."""
    place = sources()
    await place.sign_in()
    stored = place.context.login.put

    async def dies(value: Secret) -> bool:
        if json.loads(value.reveal())["flight"] is None:
            raise Killed
        return await stored(value)

    monkeypatch.setattr(place.context.login, "put", dies)
    with pytest.raises(Killed):
        await place.source.session.refresh_token.spend(await place.source.session.refresh_token.current(), {})  # type: ignore[union-attr]  # a flow of a person's
    monkeypatch.undo()
    monkeypatch.setenv("BROKER_STATE_DIR", str(state))
    monkeypatch.setattr(flight, "_courier", Courier)
    (sealed,) = files(state)
    assert b"fake-" not in sealed
    assert place.kept["refresh_token"] in place.idp.used
    place.restart()
    await place.fetcher(scope="a").fetch()
    assert place.idp.reuses == 0
    assert not files(state)


async def test_a_refresh_that_never_left_is_made_again(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before anything was sent: the refresh token is as good as before."""
    place = sources()
    await place.sign_in()
    monkeypatch.setattr(Courier, "dies_before", True)
    assert "ended without a word" in str(await failure(place.fetcher(scope="a")))
    monkeypatch.setattr(Courier, "dies_before", False)
    place.restart()
    await place.fetcher(scope="a").fetch()
    assert place.idp.reuses == 0


async def test_an_answer_that_died_with_who_asked_is_told(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut: the old token is shown once more, as some providers take it; where not, a person signs in."""
    place = sources()
    await place.sign_in()
    monkeypatch.setattr(Courier, "dies_after", True)
    await failure(place.fetcher(scope="a"))
    monkeypatch.setattr(Courier, "dies_after", False)
    place.restart()
    error = await failure(place.fetcher(scope="a"))
    assert isinstance(error, LoginRequired)
    assert "the answer to the last refresh got lost" in str(error)
    assert place.idp.reuses == 1
    await failure(place.fetcher(scope="a"))
    assert place.idp.reuses == 1, "and never again"


async def test_where_the_next_token_could_not_be_stored_the_present_one_is_not_spent(sources: Sources) -> None:
    """A full disk costs a wait, not the sign-in."""
    place = sources()
    await place.sign_in()
    place.context.login.stores = False
    error = await failure(place.fetcher(scope="a"))
    assert isinstance(error, TransientFetchError)
    assert "is not spent" in str(error)
    assert place.idp.calls["/token"] == 1
    place.context.login.stores = True
    assert await place.fetcher(scope="a").fetch()


async def test_a_disk_that_fills_up_in_the_middle_loses_nothing(
    sources: Sources, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token is served; the file stays for the next daemon."""
    place = sources()
    await place.sign_in()
    stored = place.context.login.put

    async def full(value: Secret) -> bool:
        return json.loads(value.reveal())["flight"] is not None and await stored(value)

    place.context.login.put = full  # type: ignore[method-assign]  # the disk
    fetcher = place.fetcher(scope="a")
    await fetcher.fetch()
    assert files(state)
    place.context.login.put = stored  # type: ignore[method-assign]  # the disk
    place.restart()
    await place.fetcher(scope="a").fetch()
    assert place.idp.reuses == 0


async def test_where_nothing_is_stored_the_sign_in_lasts_as_long_as_the_daemon(sources: Sources, state: Path) -> None:
    """`persist = "off"`: no file either."""
    place = sources()
    place.context.login.stores = False
    assert not await place.sign_in()
    fetcher = place.fetcher(scope="a")
    for _ in range(3):
        await fetcher.fetch()
    assert place.idp.reuses == 0
    assert not files(state)


@pytest.mark.slow
def test_the_courier_is_a_program_of_its_own(idp: FakeProvider, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It works without the daemon, and says nothing but the sealed answer."""
    monkeypatch.undo()
    monkeypatch.setenv("BROKER_STATE_DIR", str(state))
    made = Flight("corp", Secret(seal.new_key()))
    request = {"url": f"{idp.address}/token", "headers": {"Accept": "application/json"}, "body": "grant_type=x"}
    outcome = made.carry(Server(f"{idp.address}/token"), request)
    assert (outcome["status"], json.loads(outcome["body"])["token_type"]) == (200, "Bearer")
    (content,) = files(state)
    assert b"fake-" not in content
    assert made.landed(0).outcome == outcome
    made.remove()
    assert not files(state)


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


# --- the file ---------------------------------------------------------------------------------------------------


def sealed_file(state: Path, content: bytes, name: str = "corp") -> tuple[Flight, Path]:
    """Leave a file behind, as some courier did."""
    made = Flight(name, Secret(seal.new_key()))
    state.mkdir(mode=0o700, exist_ok=True)
    path = made._path
    path.write_bytes(content.replace(b"MARK", made.mark.encode()))
    return made, path


@pytest.mark.parametrize(("content", "sent"), [(b"", False), (b"MARK", True), (b"MARK\n", True), (b"other\nx", False)])
def test_a_file_without_an_answer_says_how_far_it_got(state: Path, content: bytes, sent: bool) -> None:  # noqa: FBT001  # a table
    """Another flight's file says nothing of this one."""
    made, _ = sealed_file(state, content)
    assert made.landed(0) == flight.Landed(None, sent)


@pytest.mark.parametrize("torn", [b"", b"\0\0", b"..", b"e30.AA.AA.AA.AA", b"\xff\xfe", b"x" * 100])
def test_a_torn_answer_is_none(state: Path, torn: bytes) -> None:
    """So is one that somebody else put there."""
    made, _ = sealed_file(state, b"MARK\n" + torn)
    assert made.landed(0) == flight.Landed(None, sent=True)


def test_an_answer_under_another_key_is_none(state: Path) -> None:
    """Only who can read the store can make one."""
    made, path = sealed_file(state, b"MARK\n")
    with path.open("ab") as file:
        file.write(seal.sealed({"status": 200, "body": "{}"}, seal.new_key()))
    assert made.landed(0).outcome is None


def test_a_courier_at_work_is_waited_for(state: Path) -> None:
    """And not doubled."""
    made, path = sealed_file(state, b"")
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(TransientFetchError, match="still under way"):
            made.landed(0)
        with pytest.raises(TransientFetchError, match="cannot be written"):
            made.carry(Server("https://login.example/"), {})


def test_no_link_is_followed(state: Path, tmp_path: Path) -> None:
    """Who can write into the folder could have us overwrite any file."""
    made, path = sealed_file(state, b"")
    path.unlink()
    (tmp_path / "precious").write_text("precious")
    path.symlink_to(tmp_path / "precious")
    assert made.landed(0).outcome is None
    with pytest.raises(TransientFetchError, match="cannot be written"):
        made.carry(Server("https://login.example/"), {})
    assert (tmp_path / "precious").read_text() == "precious"


async def test_a_provider_that_is_away_is_told_as_ever(sources: Sources) -> None:
    """The courier meets the trouble, and the line is the same."""
    place = sources()
    await place.sign_in()
    place.idp.metadata["token_endpoint"] = "http://127.0.0.1:1/token"
    place.restart()
    error = await failure(place.fetcher(scope="a"))
    assert isinstance(error, TransientFetchError)
    assert "nothing listens there" in str(error)


async def test_a_client_secret_shows_who_refreshes(sources: Sources) -> None:
    """Through the courier too; a new one is noticed."""
    place = sources(client_secret=Reference(local="client-secret"))
    place.context.secrets.records["client-secret"] = Secret("fake-client-secret")
    await place.sign_in()
    fetcher = place.fetcher(scope="a")
    await fetcher.fetch()
    assert place.idp.basic == ("me", "fake-client-secret")
    assert not fetcher.changed()
    place.context.secrets.records["client-secret"] = Secret("fake-client-secret-2")
    assert fetcher.changed()
