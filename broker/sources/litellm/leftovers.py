"""Keys that nobody uses any more, deleted when that is so.

Best effort: every key has an end that LiteLLM itself keeps to, so that one that could not be deleted only lives as
long as it was made for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from broker.errors import FetchError, TransientFetchError
from broker.secret import Secret
from broker.sources.blocking import Blocking
from broker.sources.references import Input
from broker.sources.web.calls import Calls, bearer

_AGAIN_S: Final = 60.0


@dataclass(eq=False)
class Leftover:
    """One key that was replaced. `ends_at`: in epoch seconds."""

    key: Secret
    ends_at: float
    timer: asyncio.TimerHandle | None = None


@dataclass
class Leftovers:
    """The keys of one source that are to be deleted; it reads the master key for itself, as fetches read theirs."""

    calls: Calls
    master_key: Input
    _waiting: set[Leftover] = field(default_factory=set)
    _lost: dict[str, float] = field(default_factory=dict)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _thread: Blocking = field(default_factory=lambda: Blocking("litellm"))
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def add(self, key: Secret, ends_at: float, unused_in_s: float) -> None:
        """Delete it after so long, and not later than it dies: LiteLLM keeps dead keys in its list."""
        leftover = Leftover(key, ends_at)
        self._waiting.add(leftover)
        self._wait(leftover, min(unused_in_s, ends_at - time.time()))

    def lost(self, alias: str, ends_at: float) -> None:
        """No answer came to the wish for the key of this alias: perhaps there is one."""
        self._lost[alias] = ends_at

    def reached(self) -> None:
        """The server answers: what was lost can be deleted now."""
        aliases, self._lost = [alias for alias, ends_at in self._lost.items() if ends_at > time.time()], {}
        if aliases:
            self._begin({"key_aliases": aliases})

    async def close(self) -> None:
        """Delete all at once: nobody remembers them after this."""
        left, self._waiting = list(self._waiting), set()
        for leftover in left:
            if leftover.timer is not None:
                leftover.timer.cancel()
        if left:
            self._begin({"keys": [leftover.key.reveal() for leftover in left]})
        self.reached()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _wait(self, leftover: Leftover, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        leftover.timer = loop.call_later(max(0.0, seconds), self._due, leftover)

    def _due(self, leftover: Leftover) -> None:
        self._begin({"keys": [leftover.key.reveal()]}, leftover)

    def _begin(self, body: Mapping[str, list[str]], leftover: Leftover | None = None) -> None:
        task = asyncio.get_running_loop().create_task(self._delete(body, leftover))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _delete(self, body: Mapping[str, list[str]], leftover: Leftover | None) -> None:
        try:
            async with self._turn:
                await self._call(body)
        except TransientFetchError:
            if leftover in self._waiting and leftover.ends_at > time.time():
                self._wait(leftover, _AGAIN_S)
                return
        except FetchError:  # no master key, or refused: it dies by itself
            pass
        if leftover is not None:
            self._waiting.discard(leftover)

    async def _call(self, body: Mapping[str, list[str]]) -> None:
        headers = {"Authorization": bearer(await self.master_key.resolve())}
        reply = await self.calls.post(self._thread, "/key/delete", body, headers, "delete keys")
        if reply.status >= 500:  # noqa: PLR2004  # HTTP's own
            raise TransientFetchError("not deleted")
