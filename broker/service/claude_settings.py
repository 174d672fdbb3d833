"""Claude Code's settings files for the daemon: a file system that hangs holds up neither it nor another project."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from broker.engine.destination import Pins
from broker.engine.destination.judgement import shown
from broker.engine.policy import Place
from broker.errors import Refused
from broker.integrations import claude_settings
from broker.integrations.claude_settings import Looked
from broker.platform.mounts import Mounts

DEADLINE_S: Final = 2.0
"""How long the files of one place may take to read; then the ask is refused."""

THREADS_MAX: Final = 16
"""Looks at the same time, each at another place; one that hangs keeps its thread until the file system wakes up, and
further ones wait for a free one."""

PLACES_MAX: Final = 256
"""Places remembered; the one that was asked from longest ago is forgotten first."""


class Settings(Protocol):
    """What the guard needs of the files."""

    async def look(self, place: Place) -> Looked:
        """Return what the files of this place say now. Raises `Refused` where that cannot be known in time."""


Look = Callable[[Place], Looked]


class SettingsOnDisk:
    """The `Settings` of this machine.

    `pins_path` is the file of what a person allowed; `heed` is told what it says, each time that it was read.
    """

    def __init__(
        self,
        pins_path: str,
        heed: Callable[[Pins], None] = lambda _pins: None,
        *,
        deadline_s: float = DEADLINE_S,
        look: Look | None = None,
    ) -> None:
        self._mounts = Mounts()
        self._look = look or (lambda place: claude_settings.look(place, pins_path, self._mounts))
        self._heed = heed
        self._heeded = 0
        self._deadline_s = deadline_s
        self._known: OrderedDict[Place, tuple[int, Looked]] = OrderedDict()
        self._flights: dict[Place, _Flight] = {}
        self._queue: deque[tuple[Place, _Flight]] = deque()
        self._running = 0
        self._arrivals = 0
        self.pins_trouble: str | None = None

    async def look(self, place: Place) -> Looked:
        """Return what the files of this place say now. Raises `Refused` where that cannot be known in time."""
        generation, looked = self._known.get(place, (0, None))
        # Asked right here only where no file system can hang, and none was mounted over another since.
        if looked is not None and looked.local and generation == self._mounts.refresh() and looked.holds():
            self._known.move_to_end(place)
            return looked
        try:
            async with asyncio.timeout(self._deadline_s):
                return await self._landed(place)
        except TimeoutError:
            raise Refused(
                f"{shown(place.folders[0])}: its Claude Code settings could not be read within {self._deadline_s:g} s (does its file system hang?)"
            ) from None

    def close(self) -> None:
        """Let go of the system's table."""
        self._mounts.close()

    async def _landed(self, place: Place) -> Looked:
        """Wait for a look that began after this call: an earlier one may have missed what has changed since."""
        self._arrivals = arrived = self._arrivals + 1
        while True:
            flight = self._flights.get(place) or self._launch(place)
            await flight.over.wait()
            if flight.number >= arrived:
                return flight.result()

    def _launch(self, place: Place) -> _Flight:
        flight = self._flights[place] = _Flight()
        self._queue.append((place, flight))
        self._start()
        return flight

    def _start(self) -> None:
        """Begin with the looks that wait, as far as there are threads for them."""
        while self._queue and self._running < THREADS_MAX:
            place, flight = self._queue.popleft()
            flight.number = self._arrivals
            arguments = (place, flight, self._mounts.refresh(), asyncio.get_running_loop())
            self._running += 1
            try:
                threading.Thread(target=self._work, args=arguments, name="settings", daemon=True).start()
            except RuntimeError as error:
                flight.error = error
                self._land(place, flight, 0)

    def _work(self, place: Place, flight: _Flight, generation: int, loop: asyncio.AbstractEventLoop) -> None:
        try:
            flight.looked = self._look(place)
        except Exception as error:  # noqa: BLE001  # whatever it is belongs to who waits, not to the thread
            flight.error = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(self._land, place, flight, generation)

    def _land(self, place: Place, flight: _Flight, generation: int) -> None:
        self._running -= 1
        del self._flights[place]
        if flight.looked is not None:
            flight.looked = self._remember(place, flight.looked, generation)
            if flight.number >= self._heeded:  # not one that hung, and read the pins of long ago
                self._heeded = flight.number
                self._heed(flight.looked.found.pins)
        flight.over.set()
        self._start()

    def _remember(self, place: Place, looked: Looked, generation: int) -> Looked:
        """Keep what was found; where nothing changed keep the older object, which verdicts were made for."""
        self.pins_trouble = looked.pins_trouble
        before = self._known.pop(place, (0, None))[1]
        if before is not None and before.sights == looked.sights:
            looked = before
        self._known[place] = (generation, looked)
        if len(self._known) > PLACES_MAX:
            self._known.popitem(last=False)
        return looked


@dataclass(slots=True)
class _Flight:
    """One look, under way or waiting for a thread. `number`: how many had asked when it began."""

    number: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)
    looked: Looked | None = None
    error: Exception | None = None

    def result(self) -> Looked:
        if self.looked is None:
            what = type(self.error).__name__  # its words may quote a file
            raise Refused(f"Claude Code's settings cannot be read ({what}); please report it") from self.error
        return self.looked
