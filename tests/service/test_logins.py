"""Signing in and out: which source, what is kept, and that the credentials follow."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any

import pytest

from broker.errors import BadRequest, Locked, LoginRequired, NeedsLogin, TransientFetchError, UnknownCredential
from broker.model import Issued
from broker.secret import Secret
from broker.service.events import Who
from broker.service.logins import KeptLogin
from broker.service.secrets import Lending
from broker.sources.interface import Context, Fetcher, Invitation
from tests.fakes.context import FakeSecrets
from tests.fakes.store import FakeStore
from tests.service.virtual_time import in_virtual_time
from tests.service.world import World

ME = Who(1, "broker")


@dataclass
class Portal:
    """A source that a person signs in to; what it gives is what was signed in with."""

    context: Context
    signs_in: bool = True
    takes_s: float = 0.0
    away: bool = False
    timeout_s: float = 30.0

    async def begin_login(self, redirect_uri: str) -> Invitation:
        return Invitation(redirect_uri, "fake-state")

    async def finish_login(self, _state: str, code: str) -> bool:
        await asyncio.sleep(self.takes_s)
        return await self.context.login.put(Secret(code))

    async def logout(self) -> bool:
        found = self.context.login.get() is not None
        await self.context.login.delete()
        if self.away:
            raise TransientFetchError("the server is away")
        return found

    def fetcher(self, _settings: Any, _credential: str) -> Fetcher:  # noqa: ANN401  # the interface's
        return self

    async def fetch(self) -> Issued:
        token = self.context.login.get()
        if token is None:
            raise LoginRequired(f"nobody is signed in; run: {self.context.login.command}")
        return Issued.token(token.reveal())

    def changed(self) -> bool:
        return False

    async def close(self) -> None:
        """Nothing was borrowed."""


class Portals(World):
    """A broker whose source is one."""

    def _open(self, settings: Any, context: Context) -> Any:  # noqa: ANN401, ARG002  # the interface's
        self.portal = Portal(context)
        return self.portal

    async def sign_in(self, code: str = "fake-token-1") -> bool:
        """Do both steps."""
        await self.broker.logins.begin("corp", "http://localhost:1/")
        return await self.broker.logins.finish("corp", "fake-state", code, ME)


@in_virtual_time
async def test_signing_in_mends_every_credential_of_the_source() -> None:
    """Until then each names the command, without end; afterwards nobody has to do anything else."""
    world = Portals()
    world.broker.start()
    for name in ("work", "play"):
        with pytest.raises(NeedsLogin, match="broker login corp"):
            await world.token(name)
    assert await world.sign_in()
    assert [await world.token(name) for name in ("work", "play")] == ["fake-token-1"] * 2
    assert [facts["reason"] for facts in world.audited("signed-in")] == ["corp"]
    assert world.store.records["login/corp"] == Secret("fake-token-1")
    await world.broker.close()


@in_virtual_time
async def test_signing_out_drops_every_token_that_was_got_by_it() -> None:
    """Also those that are good for hours, and those in the store; the trail has it."""
    world = Portals()
    world.broker.start()
    await world.sign_in()
    await world.token("work")
    assert await world.broker.logins.logout("corp", ME)
    with pytest.raises(NeedsLogin, match="broker login corp"):
        await world.token("work")
    assert not world.store.records
    assert [facts["reason"] for facts in world.audited("signed-out")] == ["corp"]
    assert not await world.broker.logins.logout("corp", ME)
    assert len(world.audited("signed-out")) == 1
    await world.broker.close()


@in_virtual_time
async def test_a_server_that_cannot_be_told_of_it_changes_nothing_here() -> None:
    """The tokens are dropped all the same."""
    world = Portals()
    world.broker.start()
    await world.sign_in()
    await world.token("work")
    world.portal.away = True
    with pytest.raises(TransientFetchError):
        await world.broker.logins.logout("corp", ME)
    with pytest.raises(NeedsLogin):
        await world.token("work")
    await world.broker.close()


@in_virtual_time
async def test_who_hangs_up_is_signed_in_all_the_same() -> None:
    """The server has given a token by then, which nobody else knows of."""
    world = Portals()
    world.broker.start()
    world.portal.takes_s = 1.0
    leaving = asyncio.create_task(world.broker.logins.finish("corp", "fake-state", "fake-token-1", ME))
    await asyncio.sleep(0.5)
    leaving.cancel()
    await asyncio.sleep(1.0)
    assert world.store.records["login/corp"] == Secret("fake-token-1")
    assert world.audited("signed-in")
    await world.broker.close()


@in_virtual_time
async def test_a_source_that_nobody_signs_in_to_says_so() -> None:
    """As does one that is not there, with what was probably meant."""
    plain, world = World(), Portals()
    with pytest.raises(BadRequest, match="nobody signs in to source corp by hand"):
        await plain.broker.logins.begin("corp", "http://localhost:1/")
    world.portal.signs_in = False
    with pytest.raises(BadRequest, match="nobody signs in"):
        await world.broker.logins.logout("corp", ME)
    with pytest.raises(UnknownCredential, match="did you mean corp"):
        await world.broker.logins.begin("corq", "http://localhost:1/")
    with pytest.raises(UnknownCredential, match="broker config show"):
        await world.broker.logins.begin("x" * 1000, "http://localhost:1/")
    await plain.broker.close()
    await world.broker.close()


@in_virtual_time
async def test_locked_nobody_signs_in_and_unlocked_the_sign_in_is_back() -> None:
    """It is a secret like the others."""
    world = Portals()
    world.broker.start()
    await world.sign_in()
    await world.broker.safe.lock("a test")
    with pytest.raises(Locked):
        await world.sign_in("fake-token-2")
    await world.broker.safe.unlock()
    assert await world.token("work") == "fake-token-1"
    await world.broker.close()


@in_virtual_time
async def test_a_source_that_leaves_the_config_takes_its_sign_in_along() -> None:
    """Nothing is kept of it."""
    world = Portals()
    world.broker.start()
    await world.sign_in()
    world.broker.apply(replace(world.config, sources={}, credentials={}, default=None))
    assert not world.store.records
    await world.broker.close()


async def test_without_a_daemon_nobody_can_tell_whether_somebody_is_signed_in() -> None:
    """Only it may see the key of what is stored."""
    login = Lending(FakeSecrets()).login
    with pytest.raises(TransientFetchError, match="broker start"):
        login.get()
    assert not await login.put(Secret("fake-token-1"))
    await login.delete()


async def test_what_is_kept_follows_the_store() -> None:
    """Locked it cannot be told; without a home for a key nothing is kept, and there is nothing to remove."""
    locked = KeptLogin(FakeStore(locked=True), "corp")
    with pytest.raises(TransientFetchError, match="broker unlock"):
        locked.get()
    with pytest.raises(TransientFetchError, match="broker unlock"):
        await locked.delete()
    assert not await locked.put(Secret("fake-token-1"))
    nowhere = KeptLogin(FakeStore(persist="off"), "corp")
    assert not await nowhere.put(Secret("fake-token-1"))
    assert nowhere.get() is None
    await nowhere.delete()
