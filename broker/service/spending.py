"""Tokens that may be used once, such as an assertion: none is lent twice, to whomever."""

from __future__ import annotations

import asyncio
import math
import secrets
from typing import Final
from weakref import WeakKeyDictionary

from broker.engine.vocabulary import Held
from broker.errors import SourceFailed
from broker.service.keeper import Keeper

_USED: Final = "its token was used already, and may be used once"


class Spending:
    """What was lent for one use, by credential.

    A forced refresh is damped by the credential's own `refresh_interval_min`, so that a borrower which fails again and
    again cannot hammer the place where its assertions come from.
    """

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._spent: WeakKeyDictionary[Keeper, str] = WeakKeyDictionary()
        self._turns: WeakKeyDictionary[Keeper, asyncio.Lock] = WeakKeyDictionary()

    async def lend(self, keeper: Keeper, deadline_s: float) -> Held:
        """Give a token that nobody was lent before. Raises what `Keeper.ask` raises, `SourceFailed` if there is none."""
        async with self._turns.setdefault(keeper, asyncio.Lock()):
            self._distrust_the_past(keeper)
            held = await keeper.ask(0.0, deadline_s)
            if self._is_spent(keeper, held):
                held = await self._another(keeper, deadline_s)
            self._spent[keeper] = held.issued.fingerprint(self._key)
            return held

    def _distrust_the_past(self, keeper: Keeper) -> None:
        """What an earlier run received it may have lent too."""
        if keeper not in self._spent and keeper.life.held is not None and not keeper.life.counters.refreshes:
            self._spent[keeper] = keeper.life.held.issued.fingerprint(self._key)

    def _is_spent(self, keeper: Keeper, held: Held) -> bool:
        return self._spent.get(keeper) == held.issued.fingerprint(self._key)

    async def _another(self, keeper: Keeper, deadline_s: float) -> Held:
        try:
            async with asyncio.timeout(deadline_s):
                damped_s = await keeper.refresh()
        except TimeoutError:
            raise SourceFailed(f"{_USED}; the next one did not come within {deadline_s:g}s") from None
        if damped_s > 0:
            raise SourceFailed(f"{_USED}; the next one can be had in {math.ceil(damped_s)}s (refresh_interval_min)")
        held = await keeper.ask(0.0, deadline_s)
        if self._is_spent(keeper, held):
            failure = keeper.life.failure
            raise SourceFailed(f"{_USED}; {'its source gives the same again' if failure is None else failure.message}")
        return held
