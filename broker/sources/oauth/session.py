"""A person's sign-in that all credentials of one source share: one refresh at a time, and its outcome for all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from weakref import WeakValueDictionary

from broker.errors import LoginRequired, TransientFetchError
from broker.secret import Secret
from broker.sources.interface import Context
from broker.sources.oauth.answer import Answer
from broker.sources.oauth.kept import Former, Kept
from broker.sources.oauth.provider import Provider
from broker.sources.oauth.spending import RefreshToken

T = TypeVar("T")

OFFLINE: Final = "offline_access"
"""The scope by which OpenID Connect asks for a refresh token (Core, 11)."""

_YOUNG: Final = 1 / 2
"""Share of its life that a token must have left to be shared with a credential that wants a new one."""
_TURNS: Final[WeakValueDictionary[str, asyncio.Lock]] = WeakValueDictionary()
"""One refresh at a time, also while a source that a new config replaces still answers who waits for it."""


@dataclass(frozen=True, slots=True)
class Want:
    """What a credential asks for beyond the sign-in itself."""

    scope: str | None
    resource: str | None


@dataclass(frozen=True, slots=True)
class Shared:
    """An answer for all who want the same; `serial` grows with each."""

    answer: Answer
    serial: int

    @property
    def young(self) -> bool:
        """Whether most of its life is left."""
        return time.time() - self.answer.at < (1 - _YOUNG) * self.answer.lifetime_s


@dataclass(frozen=True, slots=True)
class Gone:
    """What is forgotten: whether somebody was signed in, and the refresh token that is to be revoked.

    `former`: a sign-in of before the settings were changed; that too.
    """

    found: bool
    token: Secret | None
    former: Former | None


class Session:
    """The sign-in of one source."""

    def __init__(self, provider: Provider, context: Context) -> None:
        self.provider = provider
        self.refresh_token = RefreshToken(provider, context)
        self._turn = _TURNS.setdefault(self.refresh_token.name, asyncio.Lock())
        self._tasks: set[asyncio.Task[Any]] = set()
        self._shared: dict[Want, Shared] = {}
        self._only: Shared | None = None
        self._serial = 0

    async def token(self, want: Want, after: int) -> Shared:
        """Return an answer that is newer than number `after`; whoever wants the same meanwhile gets the same.

        Goes on when the caller leaves. Raises `TransientFetchError`, `PermanentFetchError`, `LoginRequired`.
        """
        return await self._to_the_end(self._token(want, after))

    async def signed_in(self, answer: Answer, scope: str, only: Want | None) -> bool:
        """Take up what a person's sign-in gave, asked with `scope`; return whether it is kept when the daemon ends.

        `only`: what every credential wants, where that is the same: then they share the token that came with it.
        """
        async with self._turn:
            self._check_open()
            self._forget()
            shared = self._share(answer)
            if only is not None:
                self._shared[only] = shared
            if answer.refresh_token is not None:
                return await self.refresh_token.begin(Kept(answer.refresh_token, scope))
            self._only = shared
            await self.refresh_token.forget()
            return False

    async def signed_out(self) -> Gone:
        """Forget the sign-in; say what there was of it."""
        async with self._turn:
            found, token, former = self._only is not None, None, self.refresh_token.former()
            with suppress(LoginRequired):
                token = (await self.refresh_token.current()).refresh_token
            self._forget()
            await self.refresh_token.forget()
            return Gone(found or token is not None, token, former)

    async def close(self) -> None:
        """Begin nothing more, and let what is under way come to its end."""
        self.refresh_token.closed = True
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._forget()

    # --- one at a time ------------------------------------------------------------------------------------------

    async def _to_the_end(self, change: Coroutine[Any, Any, T]) -> T:
        task = asyncio.create_task(change, name="oauth refresh")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # told to who asked, or to nobody if there is none any more

    async def _token(self, want: Want, after: int) -> Shared:
        async with self._turn:
            self._check_open()
            known = self._only or self._shared.get(want)
            if known is not None and known.serial > after and (known is self._only or known.young):
                return known
            if self._only is not None:
                raise self.refresh_token.required(
                    "the sign-in gave no refresh token (ask for offline_access?), and its token is used up"
                )
            kept = await self.refresh_token.current()
            answer = await self.refresh_token.spend(kept, _asked(want, kept))
            self._shared[want] = self._share(answer)
            return self._shared[want]

    def _check_open(self) -> None:
        if self.refresh_token.closed:
            raise TransientFetchError(f"{self.provider.settings.place}: locked or set up anew meanwhile; try again")

    def _share(self, answer: Answer) -> Shared:
        self._serial += 1
        return Shared(answer, self._serial)

    def _forget(self) -> None:
        self.refresh_token.drop()
        self._only = None
        self._shared.clear()


def _asked(want: Want, kept: Kept) -> dict[str, str]:
    """Say what the new token is to be for, where that is not all that was agreed to."""
    asked = {"scope": want.scope, "resource": want.resource}
    if want.scope is not None and _words(want.scope) == _words(kept.scope):
        del asked["scope"]
    return {name: value for name, value in asked.items() if value is not None}


def _words(scope: str) -> set[str]:
    """What a token is for; `offline_access` is about the refresh token."""
    return {*scope.split()} - {OFFLINE}
