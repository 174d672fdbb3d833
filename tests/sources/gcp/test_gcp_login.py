"""A person's sign-in at Google: the browser's way there and back, and what is kept of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from broker.errors import LoginRequired, PermanentFetchError, TransientFetchError
from broker.secret import Secret
from broker.sources.gcp.settings import GcpSettings, GcpSourceSettings, SignInSettings
from broker.sources.interface import Interactive
from broker.sources.references import Reference
from tests.contracts.source_contract import failure, token_of
from tests.fakes.context import FakeContext, FakeLogin
from tests.fakes.google import CLIENT_ID, CLIENT_SECRET, PERSON, TARGET, FakeGoogle, fake_google, problem
from tests.sources.gcp.place import Place

PAGE = "http://127.0.0.1:8250/"
STORAGE = "https://www.googleapis.com/auth/devstorage.read_only"


@pytest.fixture
def google() -> Iterator[FakeGoogle]:
    """Run a Google of the test's own."""
    with fake_google() as google:
        yield google


@pytest.fixture
def place(google: FakeGoogle) -> Place:
    """Give a source that a person signs in to."""
    return a_place(google)


def a_place(google: FakeGoogle, context: FakeContext | None = None, **settings: Any) -> Place:  # noqa: ANN401  # any setting
    """Make one."""
    context = context or FakeContext()
    context.secrets.records["client-secret"] = Secret(CLIENT_SECRET)
    return Place(
        google, context=context, sign_in=SignInSettings(CLIENT_ID, Reference(local="client-secret")), **settings
    )


async def sign_in(place: Place, scopes: tuple[str, ...] | None = None) -> bool:
    """Be the person, and the browser."""
    invitation = await place.source.begin_login(PAGE)
    back = parse_qs(urlsplit(place.google.sign_in(invitation.url, scopes)).query)
    assert back["state"] == [invitation.state]
    return await place.source.finish_login(invitation.state, back["code"][0])


async def test_a_person_signs_in_once_and_tokens_come_from_then_on(place: Place) -> None:
    """Also for the next daemon: what is kept is in the encrypted store, and says whose it is."""
    assert isinstance(place.source, Interactive)
    assert place.source.sign_in is not None
    error = await failure(place.fetcher())
    assert isinstance(error, LoginRequired)
    assert str(error).endswith("nobody is signed in; run: broker login corp")
    assert await sign_in(place)
    issued = await place.fetcher().fetch()
    assert place.google.tokens[token_of(issued)].who == PERSON
    assert issued.details["email"] == PERSON
    again = a_place(place.google, place.context)
    assert place.google.tokens[token_of(await again.fetcher().fetch())].who == PERSON


async def test_what_is_agreed_to_is_what_the_settings_want(google: FakeGoogle) -> None:
    """And a credential may want less of it, not more."""
    place = a_place(google)
    narrow = SignInSettings(CLIENT_ID, Reference(local="client-secret"), (STORAGE,))
    place = Place(google, context=place.context, sign_in=narrow)
    await sign_in(place)
    issued = await place.fetcher(scopes=(STORAGE,)).fetch()
    assert google.tokens[token_of(issued)].scopes == (STORAGE,)
    assert "check `scopes` of the credential" in str(await failure(place.fetcher()))


async def test_a_box_that_was_left_unticked_is_told(place: Place) -> None:
    """Google lets a person agree to a part only; the token would be refused later, by somebody else."""
    with pytest.raises(PermanentFetchError, match="cloud-platform was not agreed to; run once more: broker login corp"):
        await sign_in(place, ("openid", STORAGE))
    assert place.context.login.record is None


async def test_a_signed_in_person_may_act_as_a_service_account(google: FakeGoogle) -> None:
    """With ID tokens too, which a person has none of."""
    place = a_place(google, impersonate=TARGET)
    google.may_act_as = {(PERSON, TARGET)}
    await sign_in(place)
    assert google.tokens[token_of(await place.fetcher().fetch())].who == TARGET
    assert (await place.fetcher(kind="id-token", target_audience="x").fetch()).details["email"] == TARGET


async def test_an_answer_of_another_sign_in_is_refused(place: Place) -> None:
    """Somebody's page could have the browser bring a code of theirs; and each answer counts once."""
    invitation = await place.source.begin_login(PAGE)
    code = parse_qs(urlsplit(place.google.sign_in(invitation.url)).query)["code"][0]
    for state in ("fake-other-state", invitation.state):  # the first one makes the sign-in void
        with pytest.raises(PermanentFetchError, match="belongs to no sign-in"):
            await place.source.finish_login(state, code)


async def test_a_code_that_google_refuses_is_told_without_it(place: Place) -> None:
    """It was used, or made for another page."""
    invitation = await place.source.begin_login(PAGE)
    with pytest.raises(PermanentFetchError, match="invalid_grant: Malformed auth code") as caught:
        await place.source.finish_login(invitation.state, "fake-code-stolen")
    assert "fake-code" not in str(caught.value)


async def test_a_sign_in_that_ended_asks_for_the_right_command(place: Place) -> None:
    """Not for gcloud's, whose sign-in it is not."""
    await sign_in(place)
    place.google.refresh_tokens.clear()
    error = await failure(place.fetcher())
    assert isinstance(error, LoginRequired)
    assert str(error).endswith("run: broker login corp")


async def test_signing_out_is_told_to_google(place: Place) -> None:
    """The refresh token is dead everywhere then."""
    assert not await place.source.logout()
    await sign_in(place)
    assert await place.source.logout()
    assert not place.google.refresh_tokens
    assert isinstance(await failure(place.fetcher()), LoginRequired)
    assert not await place.source.logout()


async def test_signing_out_holds_here_even_if_google_cannot_be_told(place: Place) -> None:
    """And says so."""
    await sign_in(place)
    place.google.answer = lambda _method, path: (503, {}) if path == "/revoke" else None
    with pytest.raises(TransientFetchError, match="signed out here, but Google could not be told"):
        await place.source.logout()
    assert isinstance(await failure(place.fetcher()), LoginRequired)


async def test_without_a_store_the_sign_in_lasts_as_long_as_the_source(google: FakeGoogle) -> None:
    """`broker lock` forgets it."""
    place = a_place(google, FakeContext(login=FakeLogin(stores=False)))
    assert not await sign_in(place)
    assert google.tokens[token_of(await place.fetcher().fetch())].who == PERSON
    await place.source.close()
    assert isinstance(await failure(place.fetcher()), LoginRequired)


async def test_a_sign_in_that_the_lock_overtakes_is_not_kept(place: Place) -> None:
    """What a locked daemon does not know it cannot lose; Google is told to forget it."""
    person = place.source._person
    assert person is not None
    place.google.answer = lambda _method, path: person.close() if path == "/token" else None  # and answer as usual
    with pytest.raises(TransientFetchError, match="locked or set up anew meanwhile"):
        await sign_in(place)
    assert place.context.login.record is None
    assert not place.google.refresh_tokens


@pytest.mark.parametrize("changed", ["client_id", "at", None])
async def test_what_was_kept_for_another_client_or_place_is_not_used(place: Place, changed: str | None) -> None:
    """A changed config must not have a refresh token sent elsewhere; nor does a damaged record."""
    await sign_in(place)
    assert place.context.login.record is not None
    record = json.loads(place.context.login.record.reveal())
    text = "fake-damaged" if changed is None else json.dumps(record | {changed: "fake-other"})
    place.context.login.record = Secret(text)
    assert isinstance(await failure(place.fetcher()), LoginRequired)


async def test_signing_out_gives_back_what_another_client_was_given(place: Place) -> None:
    """Also after a change of `client_id`; another server is not shown it, and who still knows it is named."""
    for changed, told in (("client_id", True), ("at", False)):
        await sign_in(place)
        assert place.context.login.record is not None
        record = json.loads(place.context.login.record.reveal())
        place.context.login.record = Secret(json.dumps(record | {changed: "https://fake-other.example"}))
        if told:
            assert await place.source.logout()
        else:
            with pytest.raises(TransientFetchError, match=r"https://fake-other.example still knows the sign-in"):
                await place.source.logout()
        assert bool(place.google.refresh_tokens) is not told
        assert place.context.login.record is None


async def test_without_sign_in_nobody_signs_in(google: FakeGoogle) -> None:
    """The settings say who does."""
    place = Place(google)
    assert place.source.sign_in is None
    with pytest.raises(PermanentFetchError, match="no sign_in"):
        await place.source.begin_login(PAGE)


async def test_no_refresh_token_is_no_sign_in(place: Place) -> None:
    """It would be over in an hour."""
    place.google.answer = lambda _method, path: (200, {"access_token": "x"}) if path == "/token" else None
    with pytest.raises(PermanentFetchError, match="gave no refresh token"):
        await sign_in(place)
    place.google.answer = lambda _method, path: problem(403, "X", "odd") if path == "/token" else None
    with pytest.raises(PermanentFetchError, match="Google refuses the sign-in"):
        await sign_in(place)


@pytest.mark.parametrize("settings", [{"client_id": ""}, {"client_id": "a b"}, {"client_id": "x", "scopes": ("a b",)}])
def test_a_client_that_is_none_is_told_when_the_config_is_read(settings: dict[str, Any]) -> None:
    """Not by Google's page."""
    with pytest.raises(ValueError, match=r"client_id must be|scopes is a list"):
        SignInSettings(**settings)


def test_a_source_has_one_way_to_know_who_we_are() -> None:
    """Which one counts would be a guess."""
    with pytest.raises(ValueError, match="exclude each other"):
        GcpSourceSettings(credentials=Reference(env="X"), sign_in=SignInSettings("x"))
    assert GcpSettings().scopes == ("https://www.googleapis.com/auth/cloud-platform",)
