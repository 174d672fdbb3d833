"""Notices when the inputs of a source change (a file was replaced), so that nobody is given yesterday's key."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from typing import Final

from broker.service.keeper import Keeper

INTERVAL_S: Final = 1.0


class Watcher:
    """Looks at every credential's inputs in a thread of its own: a look may hang on a dead file system."""

    def __init__(self, keepers: Callable[[], Iterable[Keeper]], loop: asyncio.AbstractEventLoop) -> None:
        self._keepers = keepers
        self._loop = loop
        self._stop = threading.Event()

    def start(self) -> None:
        """Begin to look; the thread ends with `stop` or with the process."""
        threading.Thread(target=self._run, name="inputs", daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()

    def look(self) -> None:
        """Look once at all that are in use."""
        for keeper in self._keepers():
            if keeper.in_use and keeper.fetcher.changed():
                self._loop.call_soon_threadsafe(keeper.inputs_changed)

    def _run(self) -> None:
        while not self._stop.wait(INTERVAL_S):
            try:
                self.look()
            except RuntimeError:  # the event loop is closed: the daemon stops
                return
