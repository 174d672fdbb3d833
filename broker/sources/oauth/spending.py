"""The one refresh token of a source, and how it is spent.

One that is good once is spent in this order: it is written down that it is about to be (`Kept.flight`), a courier makes
the request and seals the answer (`flight`), the new one is stored, and only then the token that came with it is handed
out. Whatever is killed in between, whoever comes next finds out how far it got.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final

from broker.errors import FetchError, LoginRequired, PermanentFetchError, TransientFetchError
from broker.secret import Secret
from broker.sources.blocking import Blocking
from broker.sources.interface import Context
from broker.sources.oauth.answer import Answer
from broker.sources.oauth.flight import LONGEST, START_S, Flight
from broker.sources.oauth.kept import Former, Kept
from broker.sources.oauth.proof import Proof
from broker.sources.oauth.provider import REFRESH, Provider
from broker.sources.oauth.refusals import ProviderRefused

log = logging.getLogger(__name__)

_NOT_AGREED: Final = frozenset({"invalid_scope", "invalid_target"})


class RefreshToken:
    """What is kept of a person's sign-in. Whoever uses it sees to it that calls never overlap."""

    def __init__(self, provider: Provider, context: Context) -> None:
        settings = provider.settings
        self.name = f"{context.login.command} {settings.place} {settings.client_id}"
        self.proof = Proof(settings, context)
        self.closed = False
        self._provider = provider
        self._record = context.login
        self._thread = Blocking("oauth")
        self._unstored: Kept | None = None
        self._lost = False

    @property
    def timeout_s(self) -> float:
        """How long `current` and `spend` may take together, with the end of a refresh that somebody else began."""
        return 2 * self._patience_s + 35.0

    @property
    def command(self) -> str:
        """What a person runs to sign in."""
        return self._record.command

    async def current(self) -> Kept:
        """Return what is kept, with no refresh left open.

        Raises `LoginRequired` where nobody is signed in, `TransientFetchError`, `PermanentFetchError`.
        """
        kept = self._unstored
        if kept is None:
            record = self._record.get()
            kept = None if record is None else Kept.read(record, self._provider.settings)
        if kept is None:
            raise self.required("nobody is signed in")
        if kept.ended is not None:
            raise self.required(kept.ended)
        return kept if kept.flight is None else await self._landed(kept, kept.flight)

    def former(self) -> Former | None:
        """Return a sign-in that is kept, but was made with other settings. Raises `TransientFetchError` while locked."""
        record = self._record.get()
        return None if record is None else Former.read(record, self._provider.settings)

    async def spend(self, kept: Kept, more: Mapping[str, str]) -> Answer:
        """Get another token, and store the next refresh token. Raises as `current` does."""
        assert kept.refresh_token is not None  # noqa: S101  # for the type checker; `current` saw to it
        own = await self.proof.read()
        flight = await self._begun(kept)
        params = {"refresh_token": kept.refresh_token.reveal(), **more}
        try:
            answer = await self._provider.ask(
                self._thread, "refresh_token", params, own=own, what=REFRESH, flight=flight
            )
        except ProviderRefused as refused:
            raise await self._refused(refused, kept) from None
        await self._took(kept, answer, flight)
        return answer

    async def begin(self, kept: Kept) -> bool:
        """Keep what a sign-in gave; return whether it is stored."""
        self._lost = False
        if not await self._store(kept):
            with suppress(TransientFetchError):  # else the next run would take up an earlier one that is stored
                await self._record.delete()
        return self._unstored is None

    async def forget(self) -> None:
        """Remove it for good. Raises `TransientFetchError`."""
        self.drop()
        await self._record.delete()

    def drop(self) -> None:
        """Keep nothing in memory."""
        self._unstored = None

    def required(self, why: str) -> LoginRequired:
        """Name the command."""
        return LoginRequired(f"{self._provider.settings.place}: {why}; run: {self.command}")

    # --- spending it --------------------------------------------------------------------------------------------

    async def _begun(self, kept: Kept) -> Flight | None:
        """Write down that the refresh token is about to be spent; None where nothing is ever stored."""
        from broker.sources.oauth.seal import new_key  # noqa: PLC0415  # late: only who refreshes pays for the library

        key = Secret(new_key())
        if await self._written(replace(kept, flight=key)):
            self._unstored = None
            return self._flight(key)
        if self._record.get() is not None:
            raise TransientFetchError(
                f"{self._provider.settings.place}: the refresh token is not spent, as its successor could not be stored;"
                " see: broker status"
            )
        return None

    async def _landed(self, kept: Kept, key: Secret) -> Kept:
        """Take in a refresh that somebody began and whose end nobody saw: an earlier run, or a try that took too long."""
        flight = self._flight(key)
        landed = await self._thread.run(lambda: flight.landed(self._patience_s))
        before = replace(kept, flight=None)
        if landed.outcome is None:
            # Shown once more it may look stolen to the provider; but that ends no sign-in that is not lost anyway, and
            # some take it for a while, just for this.
            self._lost = landed.sent
            return before
        assert kept.refresh_token is not None  # noqa: S101  # for the type checker; `current` saw to it
        try:
            answer = await self._provider.landed(self._thread, landed.outcome, kept.refresh_token)
        except ProviderRefused as refused:
            if refused.error == "invalid_grant":
                raise await self._refused(refused, kept) from None
            return before
        except FetchError:  # it did not get there, or the server failed
            return before
        log.info("%s: took in a refresh that was under way", self._provider.settings.place)
        return await self._took(kept, answer, flight)

    async def _took(self, kept: Kept, answer: Answer, flight: Flight | None) -> Kept:
        """Store the new refresh token, or that the old one is still the one."""
        self._lost = False
        after = replace(kept, refresh_token=answer.refresh_token or kept.refresh_token, flight=None)
        # Where it cannot be stored now, the file stays: a later run finds the new one there.
        if await self._store(after) and flight is not None:
            await self._thread.run(flight.remove)
        return after

    async def _refused(self, refused: ProviderRefused, kept: Kept) -> PermanentFetchError:
        if refused.error == "invalid_grant":
            why = "the answer to the last refresh got lost with who asked" if self._lost else "the sign-in has ended"
            await self._store(Kept(None, ended=f"{why} ({refused})"))
            return self.required(f"{why} ({refused})")
        await self._store(replace(kept, flight=None))
        if refused.error in _NOT_AGREED:
            return self.required(f"the sign-in does not cover what the credential wants ({refused})")
        return refused

    async def _store(self, kept: Kept) -> bool:
        """Keep it, in memory where nothing can be stored now; return whether it is stored."""
        stored = await self._written(kept)
        self._unstored = None if stored else kept
        return stored

    async def _written(self, kept: Kept) -> bool:
        # A source that is closed has a successor, which knows better.
        return not self.closed and await self._record.put(kept.record(self._provider.settings))

    @property
    def _patience_s(self) -> float:
        return START_S + LONGEST * self._provider.settings.timeout

    def _flight(self, key: Secret) -> Flight:
        return Flight(self.name, key)
