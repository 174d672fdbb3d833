"""A person's sign-in that all credentials of one source share: one refresh token, spent by one refresh at a time.

A refresh token that is good once is spent in this order: it is written down that it is about to be (`Kept.flight`), a
courier makes the request and seals the answer (`flight`), the new one is stored, and only then the token that came
with it is handed out. Whatever is killed in between, whoever comes next finds out how far it got.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from broker.errors import FetchError, LoginRequired, PermanentFetchError, TransientFetchError
from broker.secret import Secret
from broker.sources.blocking import Blocking
from broker.sources.interface import Context
from broker.sources.oauth.answer import Answer
from broker.sources.oauth.flight import LONGEST, START_S, Flight
from broker.sources.oauth.kept import Kept
from broker.sources.oauth.proof import Proof
from broker.sources.oauth.provider import REFRESH, Provider
from broker.sources.oauth.refusals import ProviderRefused

log = logging.getLogger(__name__)

T = TypeVar("T")

_YOUNG: Final = 1 / 2
"""Share of its life that a token must have left to be shared with a credential that wants a new one."""
OFFLINE: Final = "offline_access"
"""The scope by which OpenID Connect asks for a refresh token (Core, 11)."""
_NOT_AGREED: Final = frozenset({"invalid_scope", "invalid_target"})


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
        lifetime = self.answer.fields.get("expires_in")
        life_s = float(lifetime) if isinstance(lifetime, int | float) else 0.0
        return time.time() - self.answer.at < (1 - _YOUNG) * life_s


class Session:
    """The sign-in of one source."""

    def __init__(self, provider: Provider, context: Context) -> None:
        self.provider = provider
        self.record = context.login
        self.proof = Proof(provider.settings, context)
        self._thread = Blocking("oauth")
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._kept: Kept | None = None
        self._stored = False
        self._shared: dict[Want, Shared] = {}
        self._only: Shared | None = None
        self._serial = 0
        self._lost = False
        self._closed = False

    @property
    def timeout_s(self) -> float:
        """How long a token may take, the end of an earlier refresh included."""
        return 2 * (START_S + LONGEST * self.provider.settings.timeout) + 35.0

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
            if self._closed:
                raise TransientFetchError(
                    f"{self.provider.settings.place}: locked or set up anew meanwhile; sign in once more"
                )
            self._forget()
            shared = self._share(answer)
            refresh_token = answer.refresh_token
            if refresh_token is None:
                self._only = shared
                await self.record.delete()
                return False
            if only is not None:
                self._shared[only] = shared
            self._kept = Kept(refresh_token, scope)
            self._stored = await self._put(self._kept)
            return self._stored

    async def signed_out(self) -> Secret | None:
        """Forget the sign-in; return the refresh token, which is to be revoked, where there was one."""
        async with self._turn:
            try:
                token = (await self._current()).refresh_token
            except LoginRequired:
                token = None
            self._forget()
            await self.record.delete()
            return token

    async def close(self) -> None:
        """Begin nothing more, and let what is under way come to its end."""
        self._closed = True
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
            known = self._only or self._shared.get(want)
            if known is not None and known.serial > after and known.young:
                return known
            if self._only is not None:
                raise self.required(
                    "the sign-in gave no refresh token (ask for offline_access?), and its token has been used up"
                )
            kept = await self._current()
            if self._closed:
                raise TransientFetchError(f"{self.provider.settings.place}: locked or set up anew meanwhile")
            self._shared[want] = self._share(await self._refreshed(kept, want))
            return self._shared[want]

    async def _current(self) -> Kept:
        """Return what is kept, with no refresh left open."""
        kept = self._kept
        if kept is None:
            record = self.record.get()
            kept = None if record is None else Kept.read(record, self.provider.settings)
            self._stored = kept is not None
        if kept is None:
            raise self.required("nobody is signed in")
        if kept.ended is not None:
            raise self.required(kept.ended)
        if kept.flight is not None:
            kept = await self._landed(kept, kept.flight)
        self._kept = kept
        return kept

    async def _refreshed(self, kept: Kept, want: Want) -> Answer:
        assert kept.refresh_token is not None  # noqa: S101  # for the type checker; `_current` saw to it
        own = await self.proof.read()
        params = {"refresh_token": kept.refresh_token.reveal()}
        if want.scope is not None and _words(want.scope) != _words(kept.scope):  # else as it was agreed to
            params["scope"] = want.scope
        if want.resource is not None:
            params["resource"] = want.resource
        flight = await self._begun(kept)
        try:
            answer = await self.provider.ask(
                self._thread, "refresh_token", params, own=own, what=REFRESH, flight=flight
            )
        except ProviderRefused as refused:
            raise await self._refused(refused, kept) from None
        await self._took(kept, answer, flight)
        return answer

    # --- spending it --------------------------------------------------------------------------------------------

    async def _begun(self, kept: Kept) -> Flight | None:
        """Write down that the refresh token is about to be spent; None where nothing is ever stored."""
        from broker.sources.oauth.seal import new_key  # noqa: PLC0415  # late: only who refreshes pays for the library

        key = Secret(new_key())
        begun = replace(kept, flight=key)
        if await self._put(begun):
            self._kept, self._stored = begun, True
            return self._flight(key)
        if self._stored:
            raise TransientFetchError(
                f"{self.provider.settings.place}: the refresh token is not spent, as its successor could not be stored;"
                " see: broker status"
            )
        return None

    async def _landed(self, kept: Kept, key: Secret) -> Kept:
        """Take in a refresh that somebody began and whose end nobody saw: an earlier run, or a try that took too long."""
        flight = self._flight(key)
        patience_s = START_S + LONGEST * self.provider.settings.timeout
        landed = await self._thread.run(lambda: flight.landed(patience_s))
        before = replace(kept, flight=None)
        if landed.outcome is None:
            # Shown once more it may look stolen to the provider; but that ends no sign-in that is not lost anyway, and
            # some take it for a while, just for this.
            self._lost = landed.sent
            return before
        assert kept.refresh_token is not None  # noqa: S101  # for the type checker; `_current` saw to it
        try:
            answer = await self.provider.landed(self._thread, landed.outcome, kept.refresh_token)
        except ProviderRefused as refused:
            if refused.error == "invalid_grant":
                raise await self._refused(refused, kept) from None
            return before
        except FetchError:  # it did not get there, or the server failed
            return before
        log.info("%s: took in a refresh that was under way", self.provider.settings.place)
        return await self._took(kept, answer, flight)

    async def _took(self, kept: Kept, answer: Answer, flight: Flight | None) -> Kept:
        """Store the new refresh token, or that the old one is still the one."""
        self._lost = False
        self._kept = replace(kept, refresh_token=answer.refresh_token or kept.refresh_token, flight=None)
        # Where it cannot be stored now, the file stays: a later run finds the new one there.
        if await self._put(self._kept) and flight is not None:
            await self._thread.run(flight.remove)
        return self._kept

    async def _refused(self, refused: ProviderRefused, kept: Kept) -> PermanentFetchError:
        if refused.error == "invalid_grant":
            why = (
                "the answer to the last refresh got lost when the daemon was killed"
                if self._lost
                else "the sign-in has ended"
            )
            self._forget()
            self._kept = Kept(None, ended=f"{why} ({refused})")
            await self._put(self._kept)
            return self.required(self._kept.ended or "")
        self._kept = replace(kept, flight=None)
        await self._put(self._kept)
        if refused.error in _NOT_AGREED:
            return self.required(f"the sign-in does not cover what the credential wants ({refused})")
        return refused

    # --- in memory ----------------------------------------------------------------------------------------------

    def required(self, why: str) -> LoginRequired:
        """Name the command."""
        return LoginRequired(f"{self.provider.settings.place}: {why}; run: {self.record.command}")

    def _flight(self, key: Secret) -> Flight:
        settings = self.provider.settings
        return Flight(f"{self.record.command} {settings.place} {settings.client_id}", key)

    async def _put(self, kept: Kept) -> bool:
        """Store it; not what is of an earlier time, before `broker lock` or another config."""
        return not self._closed and await self.record.put(kept.record(self.provider.settings))

    def _share(self, answer: Answer) -> Shared:
        self._serial += 1
        return Shared(answer, self._serial)

    def _forget(self) -> None:
        self._kept, self._only = None, None
        self._shared.clear()


def _words(scope: str) -> set[str]:
    """What a token is for; `offline_access` is about the refresh token."""
    return {*scope.split()} - {OFFLINE}
