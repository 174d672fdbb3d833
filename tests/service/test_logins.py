"""Signing in and out: which source, what is kept, and that the credentials follow."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from broker.errors import (
    BadRequest,
    Locked,
    LoginPending,
    LoginRequired,
    NeedsLogin,
    PermanentFetchError,
    TransientFetchError,
    UnknownCredential,
)
from broker.model import Issued
from broker.secret import Secret
from broker.service.events import Who
from broker.service.logins import Begun, KeptLogin
from broker.service.secrets import Lending
from broker.sign_in import Invitation, Page, SignIn
from broker.sources.interface import Context, Fetcher
from tests.fakes.context import FakeSecrets
from tests.fakes.store import FakeStore
from tests.service.virtual_time import in_virtual_time
from tests.service.world import World

BACK = "http://localhost:1/"
ME = Who(30, "broker")
ANOTHER = Who(20, "broker")
EITHER = SignIn(Page(), device=True)


@dataclass
class Portal:
    """A source that a person signs in to; what it gives is what was signed in with."""

    context: Context
    sign_in: SignIn | None = EITHER
    takes_s: float = 0.0
    away: bool = False
    timeout_s: float = 30.0
    begun: int = 0
    invitation: Invitation | None = None
    answers: list[Exception] = field(default_factory=list)
    asked: list[float] = field(default_factory=list)

    async def begin_login(self, redirect_uri: str | None) -> Invitation:
        await asyncio.sleep(self.takes_s)
        self.begun += 1
        if self.invitation is not None:
            return self.invitation
        state = f"fake-state-{self.begun}"
        if redirect_uri is not None:
            return Invitation(redirect_uri, state)
        return Invitation("https://login.example/", state, 600.0, "FAKE-CODE", interval_s=5.0)

    async def finish_login(self, _state: str, code: str | None) -> bool:
        self.asked.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.takes_s)
        if self.answers:
            raise self.answers.pop(0)
        return await self.context.login.put(Secret(code or "fake-device-token"))

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
        begun = await self.begin()
        return await self.broker.logins.finish("corp", begun.invitation.state, code, ME)

    async def begin(self, redirect_uri: str | None = BACK, who: Who = ME) -> Begun:
        """Do the first step."""
        return await self.broker.logins.begin("corp", redirect_uri, who)

    def wait(self, begun: Begun) -> asyncio.Task[bool]:
        """Begin to wait for its end."""
        return asyncio.create_task(self.broker.logins.wait("corp", begun.invitation.state))


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
    leaving = asyncio.create_task(world.broker.logins.finish("corp", "fake-state-1", "fake-token-1", ME))
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
        await plain.broker.logins.begin("corp", BACK, ME)
    world.portal.sign_in = None
    with pytest.raises(BadRequest, match="nobody signs in"):
        await world.broker.logins.logout("corp", ME)
    with pytest.raises(UnknownCredential, match="did you mean corp"):
        await world.broker.logins.begin("corq", BACK, ME)
    with pytest.raises(UnknownCredential, match="broker config show"):
        await world.broker.logins.begin("x" * 1000, BACK, ME)
    await plain.broker.close()
    await world.broker.close()


# --- device codes -----------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_device_code_is_asked_about_as_often_as_the_provider_says_until_it_is_confirmed() -> None:
    """Every five seconds here, five more after `slow_down`, and more patiently while it cannot be reached."""
    world = Portals()
    world.broker.start()
    slow, away = LoginPending(slow_down=True), TransientFetchError("away")
    world.portal.answers = [LoginPending(), slow, LoginPending(), away, LoginPending()]
    begun = await world.begin(None)
    assert begun.invitation.user_code == "FAKE-CODE"
    assert await world.wait(begun)
    pauses = [later - earlier for earlier, later in itertools.pairwise([0.0, *world.portal.asked])]
    assert [round(pause) for pause in pauses] == [5, 5, 10, 10, 20, 20]
    assert await world.token("work") == "fake-device-token"
    assert [facts["reason"] for facts in world.audited("signed-in")] == ["corp"]
    await world.broker.close()


@in_virtual_time
async def test_when_nobody_waits_any_more_the_provider_is_not_asked_either() -> None:
    """Ctrl-C ends it; but what the provider has just given is not thrown away."""
    world = Portals()
    world.broker.start()
    world.portal.answers = [LoginPending()] * 100
    waiting = world.wait(await world.begin(None))
    await asyncio.sleep(11)
    waiting.cancel()
    await asyncio.sleep(60)
    assert len(world.portal.asked) == 2
    world.portal.answers, world.portal.takes_s = [], 1.0
    waiting = world.wait(await world.begin(None))
    await asyncio.sleep(5.5)
    waiting.cancel()
    await asyncio.sleep(1)
    assert await world.token("work") == "fake-device-token"
    await world.broker.close()


@in_virtual_time
@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (LoginRequired("the person refused"), "^the person refused$"),
        (PermanentFetchError("bad client"), "^bad client$"),
    ],
)
async def test_a_refusal_ends_it(answer: Exception, says: str) -> None:
    """In the source's words; for a person, who is here, it is a sign-in that is missing."""
    world = Portals()
    world.broker.start()
    world.portal.answers = [LoginPending(), answer]
    begun = await world.begin(None)
    waiting = [world.wait(begun) for _ in range(2)]
    expected = NeedsLogin if isinstance(answer, LoginRequired) else PermanentFetchError
    for each in waiting:
        with pytest.raises(expected, match=says):
            await each
    await asyncio.sleep(60)
    assert len(world.portal.asked) == 2
    await world.broker.close()


@in_virtual_time
async def test_a_bug_of_a_source_does_not_let_a_person_wait() -> None:
    """It is told as such at once."""
    world = Portals()
    world.broker.start()
    world.portal.answers = [ValueError("a bug")]
    with pytest.raises(ValueError, match="a bug"):
        await world.wait(await world.begin(None))
    await world.broker.close()


@in_virtual_time
async def test_a_code_that_nobody_confirms_in_time_is_given_up() -> None:
    """It says how long that was, and what was in the way."""
    world = Portals()
    world.broker.start()
    world.portal.answers = [TransientFetchError("the provider is away")] * 100
    with pytest.raises(NeedsLogin, match=r"within 10 minutes \(the last try to ask: the provider is away\); try again"):
        await world.wait(await world.begin(None))
    asked = len(world.portal.asked)
    await asyncio.sleep(600)
    assert len(world.portal.asked) == asked
    await world.broker.close()


@in_virtual_time
async def test_a_way_that_the_source_does_not_know_is_a_bad_request() -> None:
    """Which says what is missing."""
    world = Portals()
    world.portal.sign_in = SignIn(Page())
    with pytest.raises(BadRequest, match="leave out --device"):
        await world.begin(None)
    world.portal.sign_in = SignIn(device=True)
    with pytest.raises(BadRequest, match="by a device code only"):
        await world.begin()
    await world.broker.close()


@in_virtual_time
@pytest.mark.parametrize(
    "invitation",
    [
        Invitation("javascript:alert(1)", "x"),
        Invitation("file:///etc/passwd", "x"),
        Invitation("https://", "x"),
        Invitation("https://[login.example/", "x"),
        Invitation("https://login.example/\x1b[2J", "x"),
        Invitation("https://login.example/?" + "x" * 20_000, "x"),
        Invitation("https://login.example/", "x", user_code="A", complete_url="javascript:alert(1)"),
        Invitation("https://login.example/", "x", user_code="\x1b[2J"),
        Invitation("https://login.example/", "x", user_code="X" * 65),
    ],
)
async def test_what_a_provider_says_that_is_no_page_and_no_code_is_shown_to_nobody(invitation: Invitation) -> None:
    """It goes to a browser, and to a terminal."""
    world = Portals()
    world.portal.invitation = invitation
    with pytest.raises(PermanentFetchError, match="source corp: the provider gives something as the") as caught:
        await world.begin()
    assert str(caught.value).isprintable()
    await world.broker.close()


# --- several at once --------------------------------------------------------------------------------------------


@in_virtual_time
@pytest.mark.parametrize("redirect_uri", [BACK, None])
async def test_twenty_sign_ins_at_once_are_one(redirect_uri: str | None) -> None:
    """Who comes later waits for the first, and is signed in with it."""
    world = Portals()
    world.broker.start()
    world.portal.takes_s = 1.0
    people = [ME, *[ANOTHER] * 19]
    begun = await asyncio.gather(*(world.begin(redirect_uri, who) for who in people))
    assert [each.joined for each in begun] == [False] + [True] * 19
    assert (world.portal.begun, len({each.invitation for each in begun})) == (1, 1)
    waiting = [world.wait(each) for each in begun]
    if redirect_uri is not None:
        await world.broker.logins.finish("corp", "fake-state-1", "fake-token-1", ME)
    assert all(await asyncio.gather(*waiting))
    assert len(world.portal.asked) == 1
    await world.broker.close()


@in_virtual_time
async def test_what_ends_a_sign_in_by_browser_ends_it_for_all_who_wait() -> None:
    """Refused, or because who began it has left, or the daemon does."""
    world = Portals()
    world.broker.start()
    first = await world.begin()
    waiting = world.wait(first)
    world.portal.answers = [PermanentFetchError("no such user")]
    with pytest.raises(PermanentFetchError, match="no such user"):
        await world.broker.logins.finish("corp", first.invitation.state, "fake-code", ME)
    with pytest.raises(PermanentFetchError, match="no such user"):
        await waiting
    second = await world.begin(who=ANOTHER)
    assert not second.joined
    waiting = world.wait(second)
    world.platform.gone.add(ANOTHER.pid)
    with pytest.raises(NeedsLogin, match="given up"):
        await waiting
    third = await world.begin()
    assert not third.joined
    waiting = world.wait(third)
    await asyncio.sleep(0)
    world.broker.logins.close()
    with pytest.raises(TransientFetchError, match="the daemon stops"):
        await waiting
    await world.broker.close()


@in_virtual_time
async def test_who_begins_anew_gives_up_the_earlier() -> None:
    """And an answer to that one is none."""
    world = Portals()
    first, second = await world.begin(), await world.begin()
    assert (first.joined, second.joined) == (False, False)
    with pytest.raises(NeedsLogin, match="no such sign-in is under way; run: broker login corp"):
        await world.wait(first)
    await world.broker.close()


@in_virtual_time
async def test_a_lock_ends_what_is_under_way() -> None:
    """The source that began it is closed."""
    world = Portals()
    world.broker.start()
    world.portal.answers = [LoginPending()] * 3
    waiting = world.wait(await world.begin(None))
    await asyncio.sleep(6)
    await world.broker.safe.lock("a test")
    await world.broker.safe.unlock()
    with pytest.raises(NeedsLogin, match="locked or set up anew"):
        await waiting
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
