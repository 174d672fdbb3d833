"""The `vault` source: logins that are kept alive, leases that are renewed, and both given back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest

from broker.engine.pacing import Pace
from broker.errors import PermanentFetchError, TransientFetchError
from broker.model import Timing
from broker.secret import Secret
from broker.service.keeper import Keeper
from broker.sources.references import Reference
from broker.sources.vault import session, source
from broker.sources.vault.auth import AppRole, Jwt, Token
from broker.sources.vault.connection import Connection
from broker.sources.vault.login import Login
from broker.sources.vault.settings import VaultSettings, VaultSourceSettings
from broker.sources.vault.source import VaultSource
from tests.contracts.source_contract import VALUE, eventually, failure, token_of
from tests.fakes.context import FakeContext
from tests.fakes.vault import FakeVault
from tests.service.virtual_time import VirtualClock, in_virtual_time
from tests.sources.vault.place import Place

LOGIN = "auth/approle/login"
RENEW = "auth/token/renew-self"
READ = "secret/data/claude"


# --- our own token ----------------------------------------------------------------------------------------------


class _Clock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> float:
        """Tell the time."""
        return self.at


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    """Have the source go by a clock that a busy machine does not move; it looks there all the time."""
    made = _Clock()
    monkeypatch.setattr(session, "now", made.now)
    monkeypatch.setattr(source, "now", made.now)
    monkeypatch.setattr(session, "_LOOK_UP_S", 0.001)
    return made


async def _signed_in(place: Place) -> Login:
    await place.fetcher("secret/claude").fetch()
    login = place.source.session._login
    assert login is not None
    return login


async def test_the_token_is_renewed_at_two_thirds_of_its_life(place: Place, clock: _Clock) -> None:
    """So that one login lasts, whether anybody asks or not."""
    place.vault.token_s = 300.0
    login = await _signed_in(place)
    for renewals in (1, 2):
        ends_at = login.ends_at
        assert 2 / 3 - 1 / 10 <= (login.renew_at - clock.at) / 300 <= 2 / 3
        clock.at = login.renew_at
        await eventually(lambda before=ends_at: login.ends_at > before)  # type: ignore[misc]  # a default binds it
        assert place.vault.calls[RENEW] == renewals
    await place.fetcher("secret/claude").fetch()
    assert place.vault.calls[LOGIN] == 1


async def test_a_token_near_its_longest_life_is_replaced_before_its_end(place: Place, clock: _Clock) -> None:
    """When renewing gives little, the next fetch signs in."""
    place.vault.token_s, place.vault.renewed_s = 300.0, 100.0
    login = await _signed_in(place)
    clock.at = login.renew_at
    await eventually(lambda: not login.usable(clock.at))
    assert login.ends_at > clock.at
    assert token_of(await place.fetcher("secret/claude").fetch()) == VALUE
    assert (place.vault.calls[LOGIN], place.vault.calls[RENEW]) == (2, 1)


async def test_a_token_that_cannot_be_renewed_is_replaced_before_its_end(place: Place, clock: _Clock) -> None:
    """Batch tokens are such."""
    place.vault.token_s, place.vault.token_renewable = 150.0, False
    login = await _signed_in(place)
    clock.at = login.ends_at - 51
    assert login.usable(clock.at)
    clock.at = login.ends_at - 50
    await place.fetcher("secret/claude").fetch()
    assert (place.vault.calls[LOGIN], place.vault.calls[RENEW]) == (2, 0)


async def test_a_failing_renewal_is_no_hot_loop(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each error doubles the pause (the current Vault Agent of OpenBao forgets to), and it works again in the end."""
    monkeypatch.setattr(session, "RETRY_FIRST_S", 0.04)
    place.vault.token_s = 2.0
    fetcher = place.fetcher("secret/claude")
    await fetcher.fetch()
    login = place.source.session._login
    assert login is not None
    times: list[float] = []

    def refuse(_method: str, path: str) -> tuple[int, dict[str, object]] | None:
        if path == RENEW and len(times) < 4:
            times.append(time.monotonic())
            return 500, {"errors": []}
        return None

    place.vault.answer = refuse
    login.renew_at = session.now()
    place.source.session._keep(login)
    await eventually(lambda: place.vault.calls[RENEW] == 5)
    pauses = [after - before for before, after in pairwise(times)]
    assert pauses[0] >= 0.02
    assert pauses[2] >= 0.08
    assert place.vault.calls[LOGIN] == 1


async def test_a_token_that_dies_while_nobody_asks_is_replaced_when_somebody_does(place: Place, clock: _Clock) -> None:
    """A renewal that is refused ends the login, quietly."""
    login = await _signed_in(place)
    place.vault.forget_tokens()
    clock.at = login.renew_at
    await eventually(lambda: login.over)
    assert token_of(await place.fetcher("secret/claude").fetch()) == VALUE
    assert (place.vault.calls[LOGIN], place.vault.calls[RENEW]) == (2, 1)


async def test_a_refused_token_costs_one_login_for_all(place: Place) -> None:
    """Ten credentials meet the same 403, and one of them signs in for all."""
    fetchers = [place.fetcher("secret/claude") for _ in range(10)]
    await asyncio.gather(*(fetcher.fetch() for fetcher in fetchers))
    place.vault.forget_tokens()
    assert [token_of(one) for one in await asyncio.gather(*(fetcher.fetch() for fetcher in fetchers))] == [VALUE] * 10
    assert place.vault.calls[LOGIN] == 2
    assert place.vault.calls[READ] == 30


async def test_a_read_that_is_denied_with_a_new_token_is_tried_no_more(place: Place) -> None:
    """One login and one retry, then the error; with a login made for this very fetch not even that."""
    place.vault.answer = lambda _method, path: (403, {"errors": ["denied"]}) if path == READ else None
    fetcher = place.fetcher("secret/claude")
    assert isinstance(await failure(fetcher), PermanentFetchError)
    assert (place.vault.calls[LOGIN], place.vault.calls[READ]) == (1, 1)
    await failure(fetcher)
    assert (place.vault.calls[LOGIN], place.vault.calls[READ]) == (2, 3)


async def test_a_failed_sign_in_is_remembered_until_the_secret_is_another(place: Place) -> None:
    """A wrong password is not tried again by each credential; a mended one at once."""
    place.vault.proof = {"secret_id": "fake-other"}
    fetchers = [place.fetcher("secret/claude") for _ in range(10)]
    for fetcher in fetchers:
        assert "invalid role or secret ID" in str(await failure(fetcher))
    assert place.vault.calls[LOGIN] == 1
    assert not fetchers[0].changed()
    place.context.secrets.records["secret-id"] = Secret("fake-other")
    assert fetchers[0].changed()
    assert token_of(await fetchers[0].fetch()) == VALUE
    assert place.vault.calls[LOGIN] == 2


async def test_a_failed_sign_in_is_tried_again_after_a_while(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The administrator may have mended it."""
    monkeypatch.setattr(session, "REMEMBER_S", 0.02)
    place.vault.answer = lambda _method, path: (500, {"errors": []}) if path == LOGIN else None
    fetcher = place.fetcher("secret/claude")
    assert isinstance(await failure(fetcher), TransientFetchError)
    place.vault.answer = lambda _method, _path: None
    async with asyncio.timeout(5):
        while True:
            try:
                assert token_of(await fetcher.fetch()) == VALUE
            except TransientFetchError:
                await asyncio.sleep(0.005)
            else:
                break


async def test_another_secret_to_sign_in_with_is_noticed(place: Place) -> None:
    """`broker secret set` is all that a person has to do: the next fetch signs in by it."""
    fetcher = place.fetcher("secret/claude")
    await fetcher.fetch()
    assert not fetcher.changed()
    place.vault.proof = {"secret_id": "fake-other"}
    place.context.secrets.records["secret-id"] = Secret("fake-other")
    assert fetcher.changed()
    await fetcher.fetch()
    assert not fetcher.changed()
    assert place.vault.calls[LOGIN] == 2


async def test_a_new_ticket_is_for_the_next_time(vault: FakeVault) -> None:
    """A JWT is replaced every few minutes, and that is no reason to sign in again."""
    vault.proof = {"jwt": "fake-jwt-1"}
    place = Place(vault, auth=Jwt("claude", Reference(local="jwt")))
    place.context.secrets.records["jwt"] = Secret("fake-jwt-1")
    fetcher = place.fetcher("secret/claude")
    await fetcher.fetch()
    place.context.secrets.records["jwt"] = Secret("fake-jwt-2")
    assert not fetcher.changed()
    await fetcher.fetch()
    assert vault.calls["auth/jwt/login"] == 1
    vault.proof = {"jwt": "fake-jwt-2"}
    vault.forget_tokens()
    await fetcher.fetch()
    assert vault.bodies["auth/jwt/login"] == {"role": "claude", "jwt": "fake-jwt-2"}
    await place.source.close()


@pytest.mark.parametrize("token", [None, "", 7, "fake\r\nX-Injected: 1"])
async def test_a_sign_in_without_a_token_is_told(place: Place, token: object) -> None:
    """Where a second factor is asked for the answer has none; nothing is made up, and nothing injected."""
    place.vault.answer = lambda _method, path: (200, {"auth": {"client_token": token}}) if path == LOGIN else None
    assert "the sign-in gave no token" in str(await failure(place.fetcher("secret/claude")))


@pytest.mark.parametrize("answer", [{}, {"auth": None}, {"auth": []}])
async def test_an_answer_of_something_else_is_told(place: Place, answer: dict[str, object]) -> None:
    """Whatever listens there."""
    place.vault.answer = lambda _method, _path: (200, answer)
    assert "is this a Vault or OpenBao?" in str(await failure(place.fetcher("secret/claude")))


async def test_a_caller_that_leaves_takes_nobodys_login_away(place: Place) -> None:
    """The sign-in under way serves the next one."""
    place.vault.gate.clear()
    leaving = asyncio.create_task(place.fetcher("secret/claude").fetch())
    staying = asyncio.create_task(place.fetcher("secret/claude").fetch())
    await eventually(lambda: place.vault.calls[LOGIN] == 1)
    leaving.cancel()
    await asyncio.wait({leaving})
    place.vault.gate.set()
    assert token_of(await staying) == VALUE
    assert place.vault.calls[LOGIN] == 1


# --- leases -----------------------------------------------------------------------------------------------------


async def test_a_lease_is_renewed_instead_of_fetched_anew(place: Place) -> None:
    """The same secret lives on, and the server keeps one account instead of a hundred."""
    fetcher = place.fetcher("lent/db")
    first = await fetcher.fetch()
    assert first.expires_at == pytest.approx(time.time() + 3600, abs=5)
    assert first.borrowed
    place.vault.lease_renewed_s = 7200.0
    second = await fetcher.fetch()
    assert second.same_secret(first)
    assert second.expires_at == pytest.approx(time.time() + 7200, abs=5)
    assert place.vault.calls["lent/db"] == 1
    assert place.vault.bodies["sys/leases/renew"] == {"lease_id": "lent/db/2", "increment": 3600}


async def _refused(place: Place) -> None:
    place.vault.leases.clear()


async def _shortened(place: Place) -> None:
    place.vault.lease_renewed_s = 60.0


async def _restarted(place: Place) -> None:
    place.vault.forget_tokens()


async def _forbidden(place: Place) -> None:
    reply = (403, {"errors": ["permission denied"]})
    place.vault.answer = lambda _method, path: reply if path == "sys/leases/renew" else None


@pytest.mark.parametrize("happens", [_refused, _shortened, _restarted, _forbidden])
async def test_where_renewing_does_not_help_another_one_is_got(
    place: Place, happens: Callable[[Place], Awaitable[None]]
) -> None:
    """A lease revoked by the administrator, near its longest life, lost with its login, or not to be renewed by us."""
    fetcher = place.fetcher("lent/db")
    first = await fetcher.fetch()
    await happens(place)
    second = await fetcher.fetch()
    assert not second.same_secret(first)
    assert place.vault.calls["lent/db"] >= 2


async def test_a_lease_that_cannot_be_renewed_is_got_anew(place: Place) -> None:
    """Without asking for the impossible."""
    place.vault.lease_renewable = False
    fetcher = place.fetcher("lent/db")
    await fetcher.fetch()
    await fetcher.fetch()
    assert (place.vault.calls["lent/db"], place.vault.calls["sys/leases/renew"]) == (2, 0)


async def test_a_lease_that_upstream_refuses_is_got_anew(place: Place) -> None:
    """Prolonging a password that does not work helps nobody."""
    fetcher = place.fetcher("lent/db")
    first = await fetcher.fetch()
    fetcher.renounce()
    second = await fetcher.fetch()
    assert not second.same_secret(first)
    assert (await fetcher.fetch()).same_secret(second), "and that one is renewed again"


async def test_a_renewal_that_fails_for_a_while_is_the_engines_to_repeat(place: Place) -> None:
    """The lease in hand is still good, so nothing else is tried."""
    fetcher = place.fetcher("lent/db")
    first = await fetcher.fetch()
    place.vault.answer = lambda _method, path: (503, {"errors": ["sealed"]}) if path == "sys/leases/renew" else None
    assert isinstance(await failure(fetcher), TransientFetchError)
    place.vault.answer = lambda _method, _path: None
    assert (await fetcher.fetch()).same_secret(first)


async def test_a_lease_that_dies_with_its_login_is_noticed(place: Place) -> None:
    """Another credential met the 403 first: this one is told by the watcher, before its caller is refused."""
    lent, other = place.fetcher("lent/db"), place.fetcher("secret/claude")
    await lent.fetch()
    await other.fetch()
    assert not lent.changed()
    place.vault.forget_tokens()
    await other.fetch()
    assert lent.changed()
    await lent.fetch()
    assert not lent.changed()


async def test_a_lost_lease_is_said_once(place: Place) -> None:
    """What comes after that is the engine's patience, which a change that is told again and again would use up."""
    lent, other = place.fetcher("lent/db"), place.fetcher("secret/claude")
    await lent.fetch()
    place.vault.forget_tokens()
    await other.fetch()
    assert lent.changed()
    place.vault.answer = lambda _method, _path: (503, {"errors": ["sealed"]})
    await failure(lent)
    assert not lent.changed()


async def test_a_lease_ends_no_later_than_a_login_that_cannot_be_renewed(place: Place) -> None:
    """The server revokes it then, whatever the lease says."""
    place.vault.token_s, place.vault.token_renewable = 600.0, False
    issued = await place.fetcher("lent/db").fetch()
    assert issued.expires_at == pytest.approx(time.time() + 600, abs=5)


# --- the end ----------------------------------------------------------------------------------------------------


async def test_at_the_end_our_token_is_revoked_with_all_its_leases(place: Place) -> None:
    """One call does it."""
    await place.fetcher("lent/db").fetch()
    await place.source.close()
    assert not place.vault.tokens
    assert not place.vault.leases
    assert place.vault.calls["sys/leases/revoke"] == 0


async def test_a_token_that_was_given_to_us_stays_and_its_leases_go(vault: FakeVault) -> None:
    """Somebody else may use the token; the leases are ours."""
    vault.tokens.add("fake-given-token")
    place = Place(vault, auth=Token(Reference(local="token")))
    place.context.secrets.records["token"] = Secret("fake-given-token")
    await place.fetcher("lent/db").fetch()
    assert len(vault.leases) == 1
    await place.source.close()
    assert vault.tokens == {"fake-given-token"}
    assert not vault.leases


async def test_a_given_token_that_is_dead_is_told_as_that(vault: FakeVault) -> None:
    """Nothing but another token helps, and that one is noticed."""
    vault.tokens.add("fake-given-token-2")
    place = Place(vault, auth=Token(Reference(local="token")))
    place.context.secrets.records["token"] = Secret("fake-given-token-1")
    fetcher = place.fetcher("secret/claude")
    error = await failure(fetcher)
    assert isinstance(error, PermanentFetchError)
    assert "the token is expired or revoked, or ask for a policy" in str(error)
    place.context.secrets.records["token"] = Secret("fake-given-token-2")
    assert fetcher.changed()
    assert token_of(await fetcher.fetch()) == VALUE
    await place.source.close()


async def test_a_server_that_hangs_at_the_farewell_is_left(place: Place) -> None:
    """Whoever closes the source need not wait longer than it likes."""
    await place.fetcher("lent/db").fetch()
    place.vault.gate.clear()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await place.source.close()


# --- patience ---------------------------------------------------------------------------------------------------


class _Sealable:
    """A server in the test's own time: it answers at once, or says that it is sealed. It notes what it was asked."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.sealed = False
        self.asked: list[str] = []

    async def run(self, _thread: object, _call: object, _token: object, what: str, *_sent: object) -> dict[str, Any]:
        """Stand in for `Connection.run`."""
        self.asked.append(what)
        await asyncio.sleep(0.01)
        if self.sealed:
            raise TransientFetchError("Vault is sealed (status 503)")
        auth = {"client_token": "fake-vault-token", "lease_duration": 90.0, "renewable": True}
        lease = {"lease_id": "lent/db/1", "lease_duration": 120.0, "renewable": True}
        return {"auth": auth, "data": {"password": "fake-lent-1"}, **lease}


@in_virtual_time
async def test_a_server_that_is_sealed_for_ten_minutes_is_asked_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the engine's bound, our own token's renewal included, though ten callers ask every second; then it heals."""
    clock = VirtualClock()
    server = _Sealable(clock)
    monkeypatch.setattr(session, "now", lambda: clock.now().mono)
    monkeypatch.setattr(source, "now", lambda: clock.now().mono)
    monkeypatch.setattr("time.time", lambda: clock.now().wall)
    monkeypatch.setattr(Connection, "run", lambda _connection, *arguments: server.run(*arguments))
    opened = VaultSource(VaultSourceSettings("https://vault.example", auth=AppRole("fake-role")), FakeContext())
    fetcher = opened.fetcher(VaultSettings("lent/db"), "work")
    keeper = Keeper(
        "work", fetcher, Timing(min_validity_s=1.0), clock=clock, publish=lambda _event: None, fingerprint_key=b"key"
    )
    await keeper.ask(10.0, 5.0)
    server.sealed, server.asked = True, []
    for _ in range(600):
        await asyncio.gather(*(keeper.ask(10.0, 0.5) for _ in range(10)), return_exceptions=True)
        if fetcher.changed():
            keeper.inputs_changed()
        await asyncio.sleep(0.5)
    renewals = server.asked.count("renew our token")
    assert renewals <= 8
    assert len(server.asked) - renewals <= Pace.BUDGET
    server.sealed = False
    async with asyncio.timeout(Pace.WINDOW_S):
        while not (keeper.life.held is not None and not keeper.life.held.dead):
            await asyncio.sleep(1)
    keeper.retire()
    await opened.close()
