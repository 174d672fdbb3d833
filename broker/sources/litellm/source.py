"""A `[sources.NAME]` of type `litellm`, and its credentials: virtual keys that are made, replaced and deleted."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping
from typing import Any, Final

from broker.errors import FetchError, PermanentFetchError, TransientFetchError
from broker.model import TOKEN, Issued
from broker.secret import Secret
from broker.sources.blocking import Blocking
from broker.sources.interface import DEFAULT_TIMEOUT_S, Context, Fetcher
from broker.sources.litellm import answers
from broker.sources.litellm.leftovers import Leftovers
from broker.sources.litellm.settings import LiteLLMSettings, LiteLLMSourceSettings
from broker.sources.references import Input, bind
from broker.sources.web.calls import Calls, Reply, bearer

_WHAT: Final = "make a key"
_SUFFIX_BYTES: Final = 6


class LiteLLMSource:
    """One proxy."""

    def __init__(self, settings: LiteLLMSourceSettings, context: Context) -> None:
        self.settings = settings
        self.calls = Calls(settings.server)
        self._context = context
        self.leftovers = Leftovers(self.calls, self.master_key())

    def fetcher(self, settings: LiteLLMSettings, credential: str) -> Fetcher:
        """Bind what keys are made with."""
        return LiteLLMFetcher(self, settings, credential)

    def master_key(self) -> Input:
        """Make the reference ready to be read, each time for one reader."""
        return bind(self.settings.master_key, self._context)

    async def close(self) -> None:
        """Delete the keys that were replaced.

        Not the one in hand, which a daemon's restart takes up again from the encrypted store, so that sessions go on;
        whoever knows that it is kept nowhere says so before (`superseded`).
        """
        await self.leftovers.close()


class LiteLLMFetcher:
    """Makes the keys of one credential."""

    def __init__(self, source: LiteLLMSource, settings: LiteLLMSettings, credential: str) -> None:
        self._source = source
        self._settings = settings
        self._prefix = settings.key_alias or f"broker-{credential}"
        self._master_key = source.master_key()
        self._thread = Blocking("litellm")
        self._refused = False

    @property
    def timeout_s(self) -> float:
        """The call has its own time-out, and so has reading the master key."""
        return DEFAULT_TIMEOUT_S + self._source.settings.timeout + 5

    async def fetch(self) -> Issued:
        """Make a key."""
        self._refused = False
        try:
            return await self._made(await self._master_key.resolve())
        except PermanentFetchError:
            self._refused = True
            raise

    def changed(self) -> bool:
        """Notice another master key, where the last one was of no use; keys that were made by it stay good."""
        return self._refused and self._master_key.changed()

    def superseded(self, issued: Issued, unused_in_s: float) -> None:
        """Delete the key when nobody uses it any more."""
        ends_at = time.time() if issued.expires_at is None else issued.expires_at
        self._source.leftovers.add(issued.parts[TOKEN], ends_at, unused_in_s)

    async def _made(self, master_key: Secret) -> Issued:
        alias = f"{self._prefix}-{secrets.token_hex(_SUFFIX_BYTES)}"  # LiteLLM takes none twice
        began = time.time()
        wish = self._wish(alias)
        reply = await self._asked(master_key, wish, began)
        try:
            if not reply.ok:
                raise answers.refusal(reply, f"{self._source.settings.base_url}: {_WHAT}", [master_key], wish)
            issued = answers.issued(reply, began=began, duration_s=self._settings.duration, alias=alias)
        except TransientFetchError:  # a gateway's 504, or a key that nobody can use: it may be there
            self._source.leftovers.lost(alias, began + self._settings.duration)
            raise
        self._source.leftovers.reached()
        return issued

    async def _asked(self, master_key: Secret, wish: Mapping[str, Any], began: float) -> Reply:
        headers = {"Authorization": bearer(master_key)}
        try:
            return await self._source.calls.post(self._thread, "/key/generate", wish, headers, _WHAT)
        except (FetchError, asyncio.CancelledError):
            self._source.leftovers.lost(wish["key_alias"], began + self._settings.duration)
            raise

    def _wish(self, alias: str) -> dict[str, Any]:
        settings = self._settings
        wanted = {
            "duration": f"{settings.duration:.0f}s",  # always: a key that nobody stores must not outlive it
            "key_alias": alias,
            "models": list(settings.models) or None,
            "max_budget": settings.max_budget,
            "user_id": settings.user_id,
            "team_id": settings.team_id,
            "metadata": settings.metadata,
        }
        return {name: value for name, value in wanted.items() if value is not None}
