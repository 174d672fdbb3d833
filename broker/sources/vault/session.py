"""The login that all credentials of one source share: made once, kept alive, replaced when it is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final, TypeVar

from broker.clock import SystemClock
from broker.errors import FetchError, PermanentFetchError, TransientFetchError
from broker.secret import Secret, flaw
from broker.sources import references
from broker.sources.blocking import Blocking
from broker.sources.interface import Context
from broker.sources.vault.auth import AppRole, Lent, Oidc, TokenFile
from broker.sources.vault.connection import Client, Connection
from broker.sources.vault.login import Login, seconds
from broker.sources.vault.person import Given, Person
from broker.sources.vault.refusals import BadInput, Denied
from broker.sources.vault.settings import VaultSourceSettings
from broker.sources.vault.wrapping import Wrapping

T = TypeVar("T")

REMEMBER_S: Final = 10.0
"""A failed sign-in is not repeated before: a wrong password, tried once by each of fifty credentials, locks the account."""
RETRY_FIRST_S: Final = 1.0
RETRY_MAX_S: Final = 60.0
_LOOK_UP_S: Final = 30.0
"""The event loop's timers stand still in suspend: look at the clock at least so often."""


class Session:
    """One source's standing at its server."""

    def __init__(self, settings: VaultSourceSettings, context: Context) -> None:
        self.settings = settings
        self.connection = Connection(settings)
        auth = settings.auth
        self.person = Person(self.connection, auth, context.login) if isinstance(auth, Oidc) else None
        self._inputs = {name: references.bind(place, context) for name, place in auth.inputs.items()}
        self._thread = Blocking("vault")
        self._login: Login | None = None
        self._left: list[Login] = []
        self._signing: asyncio.Task[Login] | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._failure: tuple[float, FetchError] | None = None
        self._stale = False
        self._closed = False
        self._wrapping: Wrapping | None = None
        if isinstance(auth, AppRole) and auth.creation_path is not None:
            self._wrapping = Wrapping(self.connection, auth, auth.creation_path, context.login)

    async def login(self) -> Login:
        """Return the present login, or sign in; whoever comes meanwhile waits for the same.

        Raises `TransientFetchError`, `PermanentFetchError` or `LoginRequired`.
        """
        if self._login is not None and self._login.usable(now()) and not (self._stale and self._follows):
            return self._login
        if self._signing is None:
            self._check_failure()
            self._signing = asyncio.create_task(self._sign_in(), name="vault sign-in")
            self._signing.add_done_callback(self._signed)
        return await asyncio.shield(self._signing)  # who leaves takes nobody's login away

    async def after_refusal(self, refused: Login) -> Login:
        """Return another login than the one that was refused; somebody else may have got it already."""
        if self._login is refused:
            refused.over = True
        return await self.login()

    def current(self, login: Login) -> bool:
        """Whether this login is still the one in use: what was borrowed by an earlier one dies with it."""
        return login is self._login and login.usable(now())

    def changed(self) -> bool:
        """Whether another try to sign in would use other secrets than the last one, and that would help.

        Called off the event loop: it may look at files.
        """
        if any(place.changed() for place in self._inputs.values()):
            self._stale = True
        return self._stale and (self._follows or self._failure is not None)

    async def call(self, thread: Blocking, call: Callable[[Client], T], login: Login, what: str) -> T:
        """Make one call by this login (see `Connection.run`)."""
        return await self.connection.run(thread, call, login.token, what)

    async def close(self) -> None:
        """Stop, and revoke the tokens that were made for us, with all that was leased by them."""
        self._closed = True
        tasks = [task for task in (self._keeping, self._signing) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        mine = [login for login in (*self._left, self._login) if login is not None and login.ours]
        self._login, self._left = None, []
        if self._wrapping is not None:
            self._wrapping.forget()
        await asyncio.gather(*(self._revoke(login) for login in mine), return_exceptions=True)
        self.connection.forget()

    # --- by a person --------------------------------------------------------------------------------------------

    async def signed_in(self, person: Person, state: str, code: str) -> bool:
        """Use the sign-in that a person has made; return whether it is kept when the daemon ends."""
        began = now()
        login = self._made(await person.finish(state, code), began)
        if self._closed:  # locked meanwhile, or set up anew
            await self._revoke(login)
            raise TransientFetchError(f"{self.settings.server}: locked or set up anew meanwhile; sign in once more")
        kept = await person.keep(login.token)
        login.ours = not kept  # what is kept must outlive this run
        if self._signing is not None:
            await asyncio.wait({self._signing})  # else it would put the earlier login in place of this one
        if self._login is not None:
            self._login.ours = True  # nobody will use it again
        self._take(login)
        return kept

    async def signed_out(self, person: Person) -> bool:
        """Forget the sign-in, then have the server forget it; return whether there was one.

        Raises `TransientFetchError` where the server could not be told, or what is stored cannot be removed.
        """
        login = self._login
        given = person.given() if login is None else Given(login.token, self.settings.server, here=True)
        if given is None:
            return False
        await person.forget()
        if not given.here:  # the present server is not to be shown it
            raise TransientFetchError(f"signed out here, but the token lives on at {given.server} until its end")
        if self._keeping is not None:
            self._keeping.cancel()
        left, self._left = [login for login in self._left if login.ours], []
        self._login, self._failure = None, None
        await asyncio.gather(*(self._revoke(login) for login in left), return_exceptions=True)
        try:
            await self.connection.run(
                Blocking("vault"), lambda client: client.auth.token.revoke_self(), given.token, "revoke our token"
            )
        except PermanentFetchError:  # it was dead already
            pass
        except FetchError as error:
            raise TransientFetchError(f"signed out here, but the token lives on until its end: {error}") from None
        return True

    # --- signing in ---------------------------------------------------------------------------------------------

    @property
    def _follows(self) -> bool:
        return self.settings.auth.follows

    def _check_failure(self) -> None:
        """Repeat a recent failure, unless the secrets are others by now."""
        if self._failure is None:
            return
        until, error = self._failure
        if now() < until and not self._stale:
            raise type(error)(str(error))
        self._failure = None

    async def _sign_in(self) -> Login:
        self._stale = False
        try:
            login = await self._signed_in(await self._secrets())
        except FetchError as error:
            self._failure = (now() + REMEMBER_S, error)
            raise
        self._failure = None
        return login

    async def _secrets(self) -> dict[str, Secret]:
        try:
            return {name: await place.resolve() for name, place in self._inputs.items()}
        except TransientFetchError as error:
            if not isinstance(self.settings.auth, TokenFile):
                raise
            raise TransientFetchError(f"{error}; run: vault login, or: bao login") from None

    async def _signed_in(self, secrets: Mapping[str, Secret]) -> Login:
        auth = self.settings.auth
        if self.person is not None:
            return await self._resumed(self.person)
        if isinstance(auth, Lent):
            return await self._looked_up(_checked(secrets["token"]))
        if self._wrapping is not None:
            secrets = {"secret_id": await self._wrapping.open(self._thread, _checked(secrets["secret_id"]))}
        plain = {name: secret.reveal() for name, secret in secrets.items()}
        method = f"sign in ({type(auth).__name__.lower()})"
        began = now()
        try:
            answer = await self.connection.run(
                self._thread, lambda client: auth.sign_in(client, plain), None, method, list(secrets.values())
            )
        except PermanentFetchError as error:
            if self._wrapping is not None and isinstance(error, BadInput | Denied):
                await self._wrapping.refused()
                raise PermanentFetchError(f"{error}; the secret_id is used up: ask for a new wrapping token") from None
            raise PermanentFetchError(f"{error}; check `auth` of the source and the secret it names") from None
        return self._made(answer, began)

    def _made(self, answer: object, began: float) -> Login:
        found = _part(answer, "auth", self.settings)
        token = found.get("client_token")
        if not isinstance(token, str) or flaw(token) is not None:
            raise TransientFetchError(
                f"{self.settings.server}: the sign-in gave no token; is another factor asked for?"
            )
        return Login.made(
            Secret(token),
            began,
            seconds(found.get("lease_duration")),
            renewable=bool(found.get("renewable")),
            ours=True,
            known=True,
        )

    async def _resumed(self, person: Person) -> Login:
        """Go on with the sign-in that is kept, if the server still knows it."""
        login = await self._looked_up(person.kept())
        if not login.known:
            raise person.required("the sign-in has ended")
        return login

    async def _looked_up(self, token: Secret) -> Login:
        """Ask how long a token that we were given lives; one that may not even ask is tried all the same."""
        began = now()
        try:
            answer = await self.connection.run(
                self._thread, lambda client: client.auth.token.lookup_self(), token, "look up our token"
            )
        except Denied:
            return Login.made(token, began, 0.0, renewable=False, ours=False, known=False)
        found = _part(answer, "data", self.settings)
        return Login.made(
            token, began, seconds(found.get("ttl")), renewable=bool(found.get("renewable")), ours=False, known=True
        )

    def _signed(self, signing: asyncio.Task[Login]) -> None:
        self._signing = None
        if signing.cancelled() or signing.exception() is not None:
            return
        self._take(signing.result())

    def _take(self, login: Login) -> None:
        # One that was refused may yet live (a policy was missing): it is revoked in the end too.
        self._left = [left for left in (*self._left, self._login) if left is not None and left.ends_at > now()]
        self._login = login
        self._keep(login)

    # --- keeping it ---------------------------------------------------------------------------------------------

    def _keep(self, login: Login) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
        self._keeping = asyncio.create_task(self._keep_alive(login), name="vault token")

    async def _keep_alive(self, login: Login) -> None:
        """Renew the token at about two thirds of its life; after an error ever later, and never in a hot loop."""
        retry_s = RETRY_FIRST_S
        while login.renewable and not login.over:
            await _sleep_until(login.renew_at)
            began = now()
            try:
                answer = await self.call(
                    Blocking("vault"), lambda client: client.auth.token.renew_self(), login, "renew our token"
                )
                login.renewed(began, _part(answer, "auth", self.settings))
                retry_s = RETRY_FIRST_S
            except PermanentFetchError:
                login.over = True
            except FetchError:
                login.renew_at = now() + retry_s * (0.5 + Random().random() / 2)  # noqa: S311  # jitter needs no cryptography
                retry_s = min(2 * retry_s, RETRY_MAX_S)
                login.over = login.renew_at >= login.ends_at

    async def _revoke(self, login: Login) -> None:
        await self.call(Blocking("vault"), lambda client: client.auth.token.revoke_self(), login, "revoke our token")


def now() -> float:
    """Tell the time on the suspend-proof clock."""
    return SystemClock().now().mono


def _checked(token: Secret) -> Secret:
    """A token goes into a header, where not every text may stand."""
    if (problem := flaw(token.reveal())) is not None:
        raise PermanentFetchError(f"the secret that `auth` names is no token: it {problem}")
    return token


async def _sleep_until(moment: float) -> None:
    while (left_s := moment - now()) > 0:  # noqa: ASYNC110  # no event comes from a clock
        await asyncio.sleep(min(left_s, _LOOK_UP_S))


def _part(answer: object, name: str, settings: VaultSourceSettings) -> Mapping[str, Any]:
    found = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(found, dict):
        raise TransientFetchError(f"{settings.server}: the answer has no {name}; is this a Vault or OpenBao?")
    return found
