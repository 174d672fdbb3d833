"""Blocking calls on a thread of their own.

Never on asyncio's shared pool: a disk or keyring that hangs would take its threads one by one, and keep the process
from ending.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def begin(call: Callable[[], T]) -> Future[T]:
    """Start `call` in a daemon thread; there need be no event loop yet."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()  # from now on nobody who stops waiting cancels it for the others

    def work() -> None:
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001  # whatever it is belongs to the waiter, not to the thread
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=work, name="storage", daemon=True).start()
    return future


async def run(call: Callable[[], T]) -> T:
    """Run `call` in a daemon thread and give its outcome. Cancelling stops the waiting, not the call."""
    return await asyncio.wrap_future(begin(call))
