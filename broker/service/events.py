"""What happens, told to whoever listens; a listener that does not keep up loses events, not the daemon memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal

QUEUE_MAX: Final = 256


Role = Literal["helper", "child", "other"]
"""What a caller is to Claude Code: certainly its `apiKeyHelper` (or a status line of the same form), below it in another
way (a tool, a hook), or nothing of its (a person's command, a service)."""

HELPER: Final[Role] = "helper"
CHILD: Final[Role] = "child"
OTHER: Final[Role] = "other"


@dataclass(frozen=True, slots=True)
class Who:
    """The process behind an event. `session` is the pid of its Claude Code, None where there is none above it.

    `pid` is 0 and `program` empty where the kernel does not name it. `within` is not for people: it keeps one pid's
    owners apart (the start of the session), or tells which terminal or service a caller without one runs in.
    """

    pid: int
    program: str
    session: int | None = None
    role: Role = OTHER
    within: int = 0

    @property
    def recipient(self) -> tuple[str, int | None, int, Role]:
        """Tell apart whom a token goes to: not the process, which is a new one at every ask."""
        return self.program, self.session, self.within, self.role


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened; never with a secret. `at` is epoch seconds, `credential` None where it is all of them."""

    name: str
    credential: str | None
    at: float
    fingerprint: str | None = None
    expires_in_s: int | None = None
    reason: str | None = None
    who: Who | None = None


class Bus:
    """Hands every event to every listener."""

    def __init__(self) -> None:
        self._listeners: set[asyncio.Queue[Event | None]] = set()
        self._hearers: list[Callable[[Event], None]] = []

    def publish(self, event: Event) -> None:
        """Tell everybody; the oldest event of a full queue makes room."""
        for hear in self._hearers:
            hear(event)
        for queue in self._listeners:
            _put(queue, event)

    def close(self) -> None:
        """Tell every listener that there is no more to come (None)."""
        for queue in self._listeners:
            _put(queue, None)

    def attach(self, hear: Callable[[Event], None]) -> None:
        """Have `hear` called with every event from now on, at once; it returns at once and never raises."""
        self._hearers.append(hear)

    @contextmanager
    def listen(self) -> Iterator[asyncio.Queue[Event | None]]:
        """Listen as long as the context lasts."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue(QUEUE_MAX)
        self._listeners.add(queue)
        try:
            yield queue
        finally:
            self._listeners.discard(queue)


def _put(queue: asyncio.Queue[Event | None], event: Event | None) -> None:
    if queue.full():
        queue.get_nowait()
    queue.put_nowait(event)
