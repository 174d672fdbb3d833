"""Blocking calls, each fetcher's in a thread of its own.

Never in asyncio's shared pool: a keyring that waits for a prompt, or a file on a dead NFS server, would take the
pool's threads one by one until no other source could work, and keep the process from exiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from broker.errors import TransientFetchError

T = TypeVar("T")

_STOP_GRACE_S: Final = 1.0
"""How long a cancelled call that can be stopped is waited for."""


class Blocking:
    """Runs one blocking call at a time. `what` names it in messages."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._busy = threading.Lock()

    async def run(self, call: Callable[[], T], *, stop: Callable[[], None] | None = None) -> T:
        """Run `call` in a daemon thread and give its outcome.

        Raises what it raises; `TransientFetchError` at once while an earlier, cancelled call still hangs. When
        cancelled, the thread is left to end by itself, hurried by `stop` where there is one.
        """
        if not self._busy.acquire(blocking=False):
            raise TransientFetchError(f"{self._what}: still waiting for the answer to an earlier try")
        outcome = _Outcome[T]()
        try:
            threading.Thread(target=self._work, args=(call, outcome), name=self._what, daemon=True).start()
        except RuntimeError:
            self._busy.release()
            raise TransientFetchError(f"{self._what}: the system gives no more threads") from None
        try:
            await outcome.arrival()
        except asyncio.CancelledError:
            if stop is not None:
                stop()
                await outcome.arrival(_STOP_GRACE_S)
            raise
        return outcome.get()

    def _work(self, call: Callable[[], T], outcome: _Outcome[T]) -> None:
        try:
            outcome.value = call()
        except BaseException as error:  # noqa: BLE001  # whatever it is belongs to the waiter, not to the thread
            outcome.error = error
        # In this order: who gets the outcome may call again at once.
        self._busy.release()
        outcome.arrive()


class _Outcome(Generic[T]):
    """What a thread brings back to an event loop that may be gone by then."""

    value: T

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()

    def arrive(self) -> None:
        """Wake the waiter, from the thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._arrived.set)

    async def arrival(self, timeout_s: float | None = None) -> None:
        """Wait for the thread, at most `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._arrived.wait()

    def get(self) -> T:
        """Give the value or raise the error."""
        if self.error is not None:
            raise self.error
        return self.value
