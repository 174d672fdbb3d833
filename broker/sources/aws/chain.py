"""From the identity to begin with to the session that credentials are made of: made once for all of a source."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeVar

from broker.clock import Now, SystemClock
from broker.errors import FetchError, PermanentFetchError
from broker.secret import Secret
from broker.sources import references
from broker.sources.aws import sts
from broker.sources.aws.calls import Calls, Doing
from broker.sources.aws.identities import Found, Given, checked
from broker.sources.aws.mfa import MfaCode
from broker.sources.aws.refusals import KeysRefused
from broker.sources.aws.sdk import CALL_S, Library, Sdk
from broker.sources.aws.session import Identity, Kept, Session
from broker.sources.aws.settings import AwsSourceSettings, Role
from broker.sources.aws.skew import Skew
from broker.sources.aws.sso.identity import Sso
from broker.sources.blocking import Blocking
from broker.sources.interface import Context

T = TypeVar("T")

_REMEMBER_S: Final = 10.0
"""A failure is told to all who ask within this: twenty credentials of one role are no twenty refused calls."""
_RENEW_TOKEN_S: Final = 15 * 60.0


class Chain:
    """One source's session."""

    def __init__(self, settings: AwsSourceSettings, context: Context) -> None:
        self.settings = settings
        self.skew = Skew()
        self.calls = Calls(Sdk(settings, self.skew), context.login.command)
        self._mfa = MfaCode(settings.mfa_code, context) if settings.mfa_code is not None else None
        self.sso = Sso(settings.sso, self.calls.sdk, context) if settings.sso is not None else None
        self._identity = self.sso or _identity(settings, context, self.calls, self._mfa)
        token = settings.web_identity_token
        self._web_token = references.bind(token, context) if token is not None else None
        self._thread = Blocking("aws")
        self._kept: Kept | None = None
        self._user: Session | None = None
        self._making: asyncio.Task[Session] | None = None
        self._void: asyncio.Task[Session] | None = None
        self._failure: tuple[float, FetchError] | None = None
        self._stale = False
        self.inputs = 0

    @property
    def timeout_s(self) -> float:
        """How long all of it takes at most."""
        return CALL_S * (3 + len(self.settings.roles))

    @property
    def facts(self) -> dict[str, str]:
        """What of AWS's answers a person should know."""
        return {"clock_skew_s": f"{self.skew.seconds:.0f}"} if self.skew.seconds else {}

    async def fresh(self, refused: Session | None = None) -> Session:
        """Return a session that is new, or young enough that its like would be no better; never the `refused` one.

        Whoever comes meanwhile waits for the same. Raises `TransientFetchError`, `PermanentFetchError`, `LoginRequired`.
        """
        return await self._session(refused, Kept.is_young)

    async def usable(self, refused: Session | None = None) -> Session:
        """Return a session to make a call with. Raises as `fresh` does."""
        return await self._session(refused, Kept.is_usable)

    def look(self) -> int:
        """Return the number of what the identity is made of, after a look at it; blocking.

        What is but the ticket for the next time counts where the last try failed.
        """
        failed = self._failure is not None
        tickets = (self._mfa, self._web_token) if failed else ()
        places = [place for place in tickets if place is not None]
        if not self._stale and (self._identity.changed(failed=failed) or any(place.changed() for place in places)):
            self._stale = True
            self.inputs += 1
        return self.inputs

    async def close(self) -> None:
        """Forget everything."""
        if self._making is not None:
            self._making.cancel()
            await asyncio.wait({self._making})
        self.forget()
        if self.sso is not None:
            await self.sso.close()

    def forget(self) -> None:
        """Make the next session anew, whatever the last try came to: somebody has signed in or out."""
        self._kept = self._user = self._failure = None
        self._void = self._making

    # --- one for all --------------------------------------------------------------------------------------------

    async def _session(self, refused: Session | None, good: Callable[[Kept, Now], bool]) -> Session:
        if self._making is not None and self._making is self._void:
            await asyncio.wait({self._making})
        kept = self._kept
        if kept is not None and kept.session is not refused and not self._stale and good(kept, SystemClock().now()):
            return kept.session
        if self._making is None:
            self._check_failure()
            self._making = asyncio.create_task(self._make(), name="aws session")
            self._making.add_done_callback(self._finished)
        return await asyncio.shield(self._making)  # who leaves takes nobody's session away

    def _check_failure(self) -> None:
        if self._failure is None:
            return
        until, error = self._failure
        if _now() < until and not self._stale:
            raise error.with_traceback(None)
        self._failure = None

    def _finished(self, making: asyncio.Task[Session]) -> None:
        self._making = None
        if making.cancelled():
            return
        error = making.exception()  # looked at in any case: asyncio writes to the log of one that nobody saw
        if making is self._void:
            return
        if error is None:
            self._kept = Kept(making.result(), SystemClock().now())
        elif isinstance(error, FetchError):
            self._failure = (_now() + _REMEMBER_S, error)

    # --- making it ----------------------------------------------------------------------------------------------

    async def _make(self) -> Session:
        stale, self._stale = self._stale, False
        if stale:
            self._user = None
        roles = list(self.settings.roles)
        if self._web_token is not None:
            session = await self._by_token(roles.pop(0))
        elif self.settings.takes_session_token:
            session = await self._user_session()
        else:
            session = await self._identity.session()
        for role in roles:
            session = await self._assumed(role, session)
        return session if session.details else await self._identified(session)

    async def _by_token(self, role: Role) -> Session:
        if self._web_token is None:
            raise PermanentFetchError("this source has no web identity token")
        token = checked(await self._web_token.resolve(), "web_identity_token")
        doing = Doing(f"assume {role.role_arn}", role, by_token=True, sent=(token,))
        return await self._call(lambda client: sts.assume_by_token(client, role, token, self.skew), None, doing)

    async def _user_session(self) -> Session:
        """Get a session of the user whose keys these are; one that is for roles is kept for as long as it lasts."""
        known = self._user
        if known is not None and self.settings.roles and (known.expires_at or 0.0) - time.time() > _RENEW_TOKEN_S:
            return known
        keys = await self._identity.session()
        mfa: dict[str, str] = {}
        if self.settings.mfa_serial is not None and self._mfa is not None:
            mfa = {"SerialNumber": self.settings.mfa_serial, "TokenCode": (await self._mfa.take()).reveal()}
        duration_s = None if self.settings.roles else self.settings.duration
        self._user = await self._call(
            lambda client: sts.session_token(client, keys, duration_s, mfa, self.skew),
            keys,
            Doing("get a session token", sent=tuple(Secret(code) for name, code in mfa.items() if name == "TokenCode")),
        )
        return self._user

    async def _assumed(self, role: Role, by: Session) -> Session:
        doing = Doing(f"assume {role.role_arn}", role)
        return await self._call(lambda client: sts.assume(client, role, self.skew), by, doing)

    async def _identified(self, session: Session) -> Session:
        """Find out whose keys these are; that they are nobody's is an error, that nobody says so is none."""
        try:
            found = await self._call(sts.identify, session, Doing("use these keys"))
        except KeysRefused:
            raise
        except FetchError:
            return session
        return replace(session, details=found)

    async def _call(self, call: Callable[[Library], T], keys: Session | None, doing: Doing) -> T:
        return await self.calls.run(self._thread, call, keys, doing)


def _identity(settings: AwsSourceSettings, context: Context, calls: Calls, mfa: MfaCode | None) -> Identity:
    if settings.secret_access_key is not None:
        return Given(settings, context)
    return Found(calls, mfa)


def _now() -> float:
    return SystemClock().now().mono
