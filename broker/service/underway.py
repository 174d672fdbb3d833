"""A sign-in that a person has begun: whoever else wants to sign in meanwhile waits for the same."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from broker.errors import BrokerError, LoginPending, NeedsLogin, TransientFetchError
from broker.sign_in import Invitation

LONGEST_S: Final = 1800.0
"""However long the provider lets a person take."""
LOOK_S: Final = 1.0
"""How soon is noticed that the browser's page is gone, or the source."""
_INTERVAL_MIN_S: Final = 1.0
_INTERVAL_MAX_S: Final = 60.0
_SLOWER_S: Final = 5.0
"""By so much the pauses grow when the provider says `slow_down` (RFC 8628, 3.5)."""


class UnderWay:
    """One. `alive`: whether who began it is still there; `finish`: asks once whether a device code was confirmed."""

    def __init__(
        self, invitation: Invitation, alive: Callable[[], bool], finish: Callable[[], Awaitable[bool]]
    ) -> None:
        self.invitation = invitation
        self._alive = alive
        self._finish = finish
        self._loop = asyncio.get_running_loop()
        self._ends_at = self._loop.time() + min(invitation.expires_in_s, LONGEST_S)
        self._outcome: asyncio.Future[bool] = self._loop.create_future()
        self._waiting = 0
        self._asking: asyncio.Task[None] | None = None
        self._trouble: TransientFetchError | None = None

    @property
    def over(self) -> bool:
        """Whether nobody is at it any more."""
        return self._outcome.done() or self._loop.time() >= self._ends_at or not (self._asking or self._alive())

    async def wait(self) -> bool:
        """Wait for its end; return whether the sign-in outlasts this run. Raises what it ends with, or `NeedsLogin`.

        A device code is asked about for as long as anybody waits.
        """
        if self.invitation.user_code is not None and self._asking is None:
            self._asking = asyncio.create_task(self._ask(), name="device sign-in")
        self._waiting += 1
        try:
            return await self._ended()
        finally:
            self._waiting -= 1
            if not self._waiting and self._asking is not None:
                self._asking.cancel()
                self._asking = None

    def ended(self, outcome: bool | BrokerError) -> None:  # noqa: FBT001  # what the others are told
        """Tell who waits."""
        if self._outcome.done():
            return
        if isinstance(outcome, BrokerError):
            self._outcome.set_exception(outcome)
            self._outcome.exception()  # nobody may be waiting
        else:
            self._outcome.set_result(outcome)

    async def _ended(self) -> bool:
        while not self._outcome.done():
            left_s = self._ends_at - self._loop.time()
            if left_s <= 0:
                raise self._too_late()
            if self._asking is not None and self._asking.done() and not self._outcome.done():
                self._asking.result()  # raises the bug that ended it
            if self.over:
                raise NeedsLogin("the sign-in that was under way was given up; begin another: broker login")
            with suppress(TimeoutError):
                async with asyncio.timeout(min(LOOK_S, left_s)):
                    await asyncio.shield(self._outcome)
        return self._outcome.result()

    def _too_late(self) -> NeedsLogin:
        trouble = f" (the last try to ask: {self._trouble})" if self._trouble is not None else ""
        minutes = min(self.invitation.expires_in_s, LONGEST_S) / 60
        return NeedsLogin(f"nobody signed in within {minutes:.2g} minutes{trouble}; try again")

    async def _ask(self) -> None:
        interval_s = min(max(self.invitation.interval_s, _INTERVAL_MIN_S), _INTERVAL_MAX_S)
        while not self._outcome.done():
            await asyncio.sleep(interval_s)
            try:
                self.ended(await self._finish())
            except LoginPending as pending:
                interval_s += _SLOWER_S if pending.slow_down else 0.0
                self._trouble = None
            except TransientFetchError as error:  # the network's, or the provider's: the code is still good
                interval_s = min(2 * interval_s, _INTERVAL_MAX_S)
                self._trouble = error
            except BrokerError as error:
                self.ended(error)


__all__ = ["UnderWay"]
