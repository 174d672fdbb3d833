"""A person's sign-in at one Identity Center: one for all sources, accounts and roles there, and refreshed once for all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Final, TypeVar
from weakref import WeakValueDictionary

from broker.errors import FetchError, LoginRequired, PermanentFetchError, TransientFetchError
from broker.sources.aws.sso.calls import SsoCalls
from broker.sources.aws.sso.settings import SsoSettings
from broker.sources.aws.sso.store import Records, SharedCache
from broker.sources.aws.sso.token import REFRESH_S, SsoToken
from broker.sources.blocking import Blocking
from broker.sources.interface import LoginRecord

T = TypeVar("T")

_SETTLES_S: Final = 1.5
"""How long a refresh under way is waited for at the end: less than a source has for its farewell."""


class SsoSignIn:
    """What is kept of it, and its token. `calls` are those of the source that happens to ask."""

    def __init__(self, settings: SsoSettings) -> None:
        self._cache = SharedCache(settings) if settings.shared_cache else None
        self._records = Records(settings)
        self._held: SsoToken | None = None
        self._refused: SsoToken | None = None
        self._getting: asyncio.Task[SsoToken] | None = None
        self._turn = asyncio.Lock()
        self._changes = 0
        self._left = 0

    def join(self, record: LoginRecord) -> None:
        """Have a source share it, whose own record this is."""
        self._records.of.append(record)

    async def leave(self, record: LoginRecord) -> None:
        """Forget what is in memory: the source is closed, which may be a lock. A refresh under way is stored before."""
        if self._getting is not None:
            await asyncio.wait({self._getting}, timeout=_SETTLES_S)
        self._records.of = [known for known in self._records.of if known is not record]
        self._left += 1
        self._held = None

    def version(self) -> Hashable:
        """Give what changes when somebody signs in, here or by the AWS CLI; off the event loop too."""
        return self._changes, None if self._cache is None else self._cache.version()

    async def token(self, calls: SsoCalls, refused: SsoToken | None = None) -> SsoToken:
        """Return a token that is good for a call, never the `refused` one; whoever comes meanwhile waits for the same.

        Raises `LoginRequired`, `TransientFetchError`, `PermanentFetchError`.
        """
        if refused is not None:
            self._refused = refused
        token = await self._shared(calls)
        return token if not self._is_refused(token) else await self._shared(calls)

    async def signed_in(self, calls: SsoCalls, token: SsoToken) -> bool:
        """Use the token of a new sign-in; return whether it is kept when the daemon ends."""
        async with self._turn:  # else a refresh under way would put the earlier sign-in in place of this one
            kept = await self._save(calls, token, self._left)
        self._refused = None
        self._changes += 1
        return kept

    async def signed_out(self, calls: SsoCalls) -> bool:
        """Forget it, then have AWS forget it; return whether there was one. Raises `TransientFetchError`."""
        async with self._turn:  # else a refresh under way would bring it back
            token = await self._load(calls)
            if token is None:
                return False
            self._held = None
            await self._delete(calls)
        self._changes += 1
        try:
            await _run(lambda: calls.sign_out(calls.refreshed(token) if self._wants_refresh(token) else token))
        except PermanentFetchError:  # it was dead already
            pass
        except FetchError as error:
            raise TransientFetchError(f"signed out here, but the sign-in lives on until its end: {error}") from None
        return True

    # --- one for all --------------------------------------------------------------------------------------------

    async def _shared(self, calls: SsoCalls) -> SsoToken:
        if self._getting is None:
            self._getting = asyncio.create_task(self._get(calls), name="aws sso token")
            self._getting.add_done_callback(self._got)
        # Who leaves cancels nothing: a refresh that AWS has made and nobody keeps would be the end of the sign-in.
        return await asyncio.shield(self._getting)

    def _got(self, getting: asyncio.Task[SsoToken]) -> None:
        self._getting = None
        if not getting.cancelled():
            getting.exception()  # those who waited were told

    async def _get(self, calls: SsoCalls) -> SsoToken:
        async with self._turn:
            return await self._present(calls)

    async def _present(self, calls: SsoCalls) -> SsoToken:
        token = await self._load(calls)
        if token is None:
            raise calls.required("nobody is signed in")
        usable = token.left_s > 0 and not self._is_refused(token)
        if usable and token.left_s > REFRESH_S:
            return token
        if not token.can_refresh:
            if usable:
                return token
            raise calls.required("the sign-in has ended")
        try:
            return await self._refresh(calls, token)
        except FetchError as error:
            other = await self._load(calls) if isinstance(error, LoginRequired) else None
            if other is not None and other.access_token != token.access_token and other.left_s > 0:
                return other  # the AWS CLI was quicker, and the refresh token is good for one use
            if usable:
                return token
            raise

    def _is_refused(self, token: SsoToken) -> bool:
        return self._refused is not None and token.access_token == self._refused.access_token

    def _wants_refresh(self, token: SsoToken) -> bool:
        return token.left_s <= 0 and token.can_refresh

    # --- what is kept -------------------------------------------------------------------------------------------

    async def _load(self, calls: SsoCalls) -> SsoToken | None:
        cache = self._cache
        kept = self._records.load() if cache is None else await _run(lambda: cache.load(calls.session_name()))
        known = [token for token in (kept, self._held) if token is not None]
        return max(known, key=lambda token: token.expires_at, default=None)

    async def _refresh(self, calls: SsoCalls, token: SsoToken) -> SsoToken:
        cache, before = self._cache, self._left
        if cache is None:
            made = await _run(lambda: calls.refreshed(token))
            await self._save(calls, made, before)
            return made

        def in_one_go() -> tuple[SsoToken, bool]:
            name = calls.session_name()
            made = calls.refreshed(token)
            return made, cache.save(made, name)  # at once: the earlier one may have ended with it

        made, kept = await _run(in_one_go)
        self._hold(made, before, kept=kept)
        return made

    async def _save(self, calls: SsoCalls, token: SsoToken, before: int) -> bool:
        cache = self._cache
        if cache is None:
            kept = await self._records.save(token)
        else:
            kept = await _run(lambda: cache.save(token, calls.session_name()))
        self._hold(token, before, kept=kept)
        return kept

    def _hold(self, token: SsoToken, before: int, *, kept: bool) -> None:
        """Keep in memory what cannot be kept elsewhere, unless a lock has come since `before`."""
        self._held = None if kept or self._left != before else token

    async def _delete(self, calls: SsoCalls) -> None:
        cache = self._cache
        if cache is None:
            await self._records.delete()
        else:
            await _run(lambda: cache.delete(calls.session_name()))


_KNOWN: Final[WeakValueDictionary[Hashable, SsoSignIn]] = WeakValueDictionary()


def sign_in_at(settings: SsoSettings, endpoint_url: str | None) -> SsoSignIn:
    """Return the one sign-in there: whoever has the same place gets the same."""
    key = (settings.place, settings.session, settings.shared_cache, endpoint_url)
    found = _KNOWN.get(key)
    if found is None:
        found = _KNOWN[key] = SsoSignIn(settings)
    return found


async def _run(call: Callable[[], T]) -> T:
    return await Blocking("aws sso").run(call)
