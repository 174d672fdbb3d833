"""The `vault` source's sign-in by a person, over a fake server (tests/real/test_vault_login.py has a real one)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from broker.errors import LoginRequired, PermanentFetchError, TransientFetchError
from broker.secret import Secret
from broker.sign_in import Page, SignIn
from broker.sources.vault.auth import Oidc
from broker.sources.vault.settings import VaultSourceSettings
from broker.sources.vault.source import VaultSource
from tests.contracts.source_contract import PATIENCE_S, VALUE, eventually, failure, token_of
from tests.fakes.vault import FakeVault, fake_vault
from tests.sources.vault.place import Place

BACK = "http://localhost:8250/oidc/callback"
BEGIN = "auth/oidc/oidc/auth_url"
FINISH = "auth/oidc/oidc/callback"
LOOKUP = "auth/token/lookup-self"


@pytest.fixture
async def place(vault: FakeVault) -> AsyncIterator[Place]:
    """Give a source at it that a person signs in to."""
    place = Place(vault, auth=Oidc("dev"))
    yield place
    vault.gate.set()
    await place.source.close()


async def sign_in(place: Place) -> bool:
    """Do both steps."""
    invitation = await place.source.begin_login(BACK)
    return await place.source.finish_login(invitation.state, "fake-code")


async def again(place: Place, **settings: Any) -> VaultSource:  # noqa: ANN401  # any setting
    """Open it as the next daemon does, with what is kept."""
    await place.source.close()
    wanted = {"address": place.vault.address, "auth": Oidc("dev"), **settings}
    place.source = VaultSource(VaultSourceSettings(**wanted), place.context)
    return place.source


async def test_both_steps_carry_what_ties_them_together(place: Place) -> None:
    """The nonce of the provider's address, and one that only the daemon and the server know."""
    assert place.source.sign_in == SignIn(Page("localhost", 8250, "/oidc/callback"))
    invitation = await place.source.begin_login(BACK)
    assert (invitation.url, invitation.state) == (place.vault.invitation, "fake-state")
    asked = place.vault.bodies[BEGIN]
    assert (asked["role"], asked["redirect_uri"]) == ("dev", BACK)
    assert len(asked["client_nonce"]) >= 32
    assert await place.source.finish_login("fake-state", "fake-code")
    brought = {"state": "fake-state", "code": "fake-code", "nonce": "fake-nonce"}
    assert place.vault.queries[FINISH] == brought | {"client_nonce": asked["client_nonce"]}
    assert token_of(await place.fetcher("secret/claude").fetch()) == VALUE


async def test_an_answer_counts_once_and_only_for_what_was_begun(place: Place) -> None:
    """A page that brings a code of somebody else's does not have us act as them, nor spoil the sign-in."""
    for _ in range(2):
        with pytest.raises(PermanentFetchError, match="broker login corp"):
            await place.source.finish_login("fake-state", "fake-code")
        await place.source.begin_login(BACK)
        with pytest.raises(PermanentFetchError, match="belongs to no sign-in"):
            await place.source.finish_login("other-state", "fake-code")
        await place.source.finish_login("fake-state", "fake-code")
    assert place.vault.calls[FINISH] == 2


@pytest.mark.parametrize(
    "url",
    [
        "",
        "javascript:alert(1)?state=a&nonce=b",
        "file:///etc/passwd?state=a&nonce=b",
        "https://?state=a&nonce=b",
        "https://login.example/\x1b[2J?state=a&nonce=b",
        "https://login.example/\u00e4?state=a&nonce=b",
        "https://[login.example/?state=a&nonce=b",
        "https://login.example/?nonce=b",
        "https://login.example/?state=a",
        "https://login.example/?state=a&nonce=" + "b" * 20_000,
    ],
)
async def test_what_is_no_address_to_sign_in_at_is_not_opened(place: Place, url: str) -> None:
    """The server's word goes to a browser and a terminal."""
    place.vault.invitation = url
    with pytest.raises(PermanentFetchError, match="address to sign in at") as caught:
        await place.source.begin_login(BACK)
    assert str(caught.value).isprintable()


async def test_an_empty_address_is_explained(place: Place) -> None:
    """The server gives one where the role does not allow our page."""
    place.vault.invitation = ""
    with pytest.raises(PermanentFetchError, match=f"add {BACK} to the role's allowed_redirect_uris"):
        await place.source.begin_login(BACK)


async def test_nobody_signed_in_names_the_command_and_asks_the_server_nothing(place: Place) -> None:
    """However many credentials ask."""
    for _ in range(2):
        error = await failure(place.fetcher("secret/claude"))
        assert isinstance(error, LoginRequired)
        assert str(error).endswith("nobody is signed in; run: broker login corp")
    assert not place.vault.calls


async def test_a_kept_sign_in_serves_the_next_daemon(place: Place) -> None:
    """The token is not given back at the end."""
    assert await sign_in(place)
    await again(place)
    assert token_of(await place.fetcher("secret/claude").fetch()) == VALUE
    assert (place.vault.calls[FINISH], place.vault.calls[LOOKUP]) == (1, 1)


@pytest.mark.parametrize("changed", [{"auth": Oidc("other")}, {"auth": Oidc("dev", "sso")}, {"namespace": "team"}])
async def test_a_kept_token_goes_to_no_other_place(place: Place, changed: dict[str, Any]) -> None:
    """Whoever has the config point elsewhere does not get it."""
    await sign_in(place)
    asked = place.vault.calls.total()
    await again(place, **changed)
    assert isinstance(await failure(place.fetcher("secret/claude")), LoginRequired)
    assert place.vault.calls.total() == asked


async def test_a_kept_token_goes_to_no_other_server(place: Place) -> None:
    """Nor there."""
    await sign_in(place)
    with fake_vault() as other:
        await again(place, address=other.address)
        assert isinstance(await failure(place.fetcher("secret/claude")), LoginRequired)
        assert not other.calls


@pytest.mark.parametrize("record", ["", "[]", "{}", "{", '{"token": 1}'])
async def test_a_broken_record_is_as_good_as_none(place: Place, record: str) -> None:
    """Signing in mends it."""
    place.context.login.record = Secret(record)
    assert isinstance(await failure(place.fetcher("secret/claude")), LoginRequired)
    await sign_in(place)
    assert token_of(await place.fetcher("secret/claude").fetch()) == VALUE


async def test_what_cannot_be_kept_is_given_back_at_the_end(place: Place) -> None:
    """Else it would live on at the server with nobody to use it."""
    place.context.login.stores = False
    assert not await sign_in(place)
    assert token_of(await place.fetcher("secret/claude").fetch()) == VALUE
    assert len(place.vault.tokens) == 1
    await place.source.close()
    assert not place.vault.tokens


async def test_a_token_that_the_server_forgot_needs_a_person(place: Place) -> None:
    """In the running daemon; after that sign-in all is well at once."""
    await sign_in(place)
    fetcher = place.fetcher("secret/claude")
    await fetcher.fetch()
    place.vault.forget_tokens()
    error = await failure(fetcher)
    assert isinstance(error, LoginRequired)
    assert str(error).endswith("the sign-in has ended; run: broker login corp")
    await sign_in(place)
    assert token_of(await fetcher.fetch()) == VALUE


async def test_a_server_that_is_away_is_no_reason_to_sign_in(place: Place) -> None:
    """It may be back in a minute, and the token good."""
    await sign_in(place)
    await again(place)
    place.vault.answer = lambda _method, _path: (503, {"errors": ["sealed"]})
    assert isinstance(await failure(place.fetcher("secret/claude")), TransientFetchError)


async def test_the_newer_of_two_sign_ins_counts_and_the_older_is_given_back(place: Place) -> None:
    """Also while the older is just being looked up."""
    await sign_in(place)
    await again(place)
    held = threading.Event()

    def hold(_method: str, path: str) -> None:
        if path == LOOKUP:
            held.wait(PATIENCE_S)

    place.vault.answer = hold
    fetching = asyncio.create_task(place.fetcher("secret/claude").fetch())
    await eventually(lambda: place.vault.calls[LOOKUP] == 1)
    signing = asyncio.create_task(sign_in(place))
    before = place.context.login.record
    await eventually(lambda: place.context.login.record != before)
    held.set()
    assert await signing
    assert token_of(await fetching) == VALUE
    login = place.source.session._login
    assert login is not None
    assert login.token == Secret("fake-vault-token-2")
    await place.source.close()
    assert place.vault.tokens == {"fake-vault-token-2"}


async def test_a_sign_in_that_a_lock_overtakes_leaves_nothing(place: Place) -> None:
    """No token in memory, none at the server."""
    invitation = await place.source.begin_login(BACK)
    place.vault.gate.clear()
    finishing = asyncio.create_task(place.source.finish_login(invitation.state, "fake-code"))
    await eventually(lambda: place.vault.calls[FINISH] == 1)
    await place.source.close()
    place.vault.gate.set()
    with pytest.raises(TransientFetchError, match="sign in once more"):
        await finishing
    assert not place.vault.tokens
    assert place.context.login.record is None


# --- signing out ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("running", [True, False])
async def test_signing_out_revokes_the_token_and_forgets_it(place: Place, *, running: bool) -> None:
    """Whether this daemon has used it yet or not."""
    await sign_in(place)
    if not running:
        await again(place)
    assert await place.source.logout()
    assert not place.vault.tokens
    assert place.context.login.record is None
    assert not await place.source.logout()
    assert isinstance(await failure(place.fetcher("secret/claude")), LoginRequired)


async def test_signing_out_takes_earlier_sign_ins_along(place: Place) -> None:
    """Each of them was this person's."""
    await sign_in(place)
    await sign_in(place)
    assert len(place.vault.tokens) == 2
    await place.source.logout()
    assert not place.vault.tokens


async def test_signing_out_gives_leases_back(place: Place) -> None:
    """Those were got by this sign-in."""
    await sign_in(place)
    await place.fetcher("lent/db", field="password").fetch()
    assert place.vault.leases
    await place.source.logout()
    assert not place.vault.leases


async def test_signing_out_of_a_dead_token_is_fine(place: Place) -> None:
    """The server has forgotten it already."""
    await sign_in(place)
    place.vault.forget_tokens()
    assert await place.source.logout()


async def test_signing_out_while_the_server_is_away_says_what_is_left(place: Place) -> None:
    """Here it is forgotten all the same."""
    await sign_in(place)
    place.vault.answer = lambda _method, _path: (500, {"errors": []})
    with pytest.raises(TransientFetchError, match="signed out here, but the token lives on until its end"):
        await place.source.logout()
    assert place.context.login.record is None
    assert not await place.source.logout()


async def test_a_source_with_another_method_has_no_sign_in(vault: FakeVault) -> None:
    """It says so."""
    place = Place(vault)
    assert place.source.sign_in is None
    with pytest.raises(PermanentFetchError, match="another method than oidc"):
        await place.source.begin_login(BACK)
    await place.source.close()


def test_a_mount_that_is_none_is_a_config_error() -> None:
    """As for every method."""
    with pytest.raises(ValueError, match="mount must be a path"):
        Oidc("dev", "../sys")


async def test_signing_out_gives_back_what_another_role_was_given(place: Place) -> None:
    """Also after a change of `role`; another server is not shown it, and who still takes it is named."""
    await sign_in(place)
    await again(place, auth=Oidc("other"))
    assert await place.source.logout()
    assert place.vault.calls["auth/token/revoke-self"] == 1
    assert place.context.login.record is None
    await sign_in(place)
    await again(place, auth=Oidc("dev"), address="https://other.example:8200")
    with pytest.raises(TransientFetchError, match=f"the token lives on at {place.vault.address} until its end"):
        await place.source.logout()
    assert place.context.login.record is None
