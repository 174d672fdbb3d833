"""Whether secrets are in memory: what was kept is taken up at the start, dropped by `lock`, and back by `unlock`."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Final

from broker.clock import Clock, Now
from broker.errors import BrokerError, Locked
from broker.secret import Secret
from broker.service.entries import Entries
from broker.service.events import Event
from broker.service.keeper import Keeper
from broker.storage.interface import LOGINS, TOKENS, Store

log = logging.getLogger(__name__)

_OPENING_S: Final = 2.0
"""How long an ask at the daemon's start waits for the store: with it the source need not be asked."""

_TRY_AGAIN_S: Final = 300.0
"""How often a store is tried again whose key could not be had: its keyring may have been unlocked meanwhile."""


@dataclass(frozen=True, slots=True)
class _Try:
    """An unlock under way."""

    passphrase: Secret | None
    task: asyncio.Task[None]


class Safe:
    """The store and the keepers' tokens, open or locked together.

    `locked` is what a person said, or a passphrase that nobody gave yet. A keyring that cannot be reached is no such
    thing: then the sources are asked as if nothing had been kept.
    """

    def __init__(self, store: Store, entries: Entries, *, clock: Clock, publish: Callable[[Event], None]) -> None:
        self.store = store
        self.locked = False
        self._entries = entries
        self._clock = clock
        self._publish = publish
        self._turn = asyncio.Lock()
        self._turns: set[asyncio.Task[None]] = set()
        self._trying: _Try | None = None
        self._locks = 0
        self._opening: asyncio.Task[None] | None = None
        self._reading = False
        self._tried_at = -math.inf
        self._used_at = clock.now().mono

    def open(self) -> None:
        """Begin to fetch the key and read the file."""
        self._reading = True
        self._opening = asyncio.create_task(self._open(), name="open the store")

    async def opened(self, at_most_s: float = _OPENING_S) -> None:
        """Wait a moment while the store is being opened: before that nobody knows what there is."""
        if self._opening is not None and not self._opening.done():
            await asyncio.wait({self._opening}, timeout=min(at_most_s, _OPENING_S))

    async def ready(self, at_most_s: float) -> float:
        """Wait while the store is being opened, and return for how many seconds that was.

        Where its key could not be had it is tried again now and then, without anybody waiting.
        """
        if self._reading:
            began = self._clock.now().mono
            await self.opened(at_most_s)
            return self._clock.now().mono - began
        if self.store.locked and not self.locked:
            self._try_again_in_time()
        return 0.0

    async def retry(self) -> None:
        """Try a store once more whose key could not be had, as a person wants a token now."""
        if self.store.locked and not self.locked and not self._reading:
            self._tried_at = self._clock.now().mono
            await self._try_again()

    def adopt(self, keepers: Iterable[Keeper]) -> None:
        """Treat new keepers like the others: locked, or with what was kept."""
        for keeper in keepers:
            if self.locked:
                keeper.lock()
            elif self._readable:
                keeper.restore()
        self._sweep()

    async def lock(self, reason: str) -> None:
        """Drop every secret from memory; until `unlock`, nothing is handed out.

        An `unlock` under way is not waited for, and opens nothing any more.
        """
        self._locks += 1
        trying, self._trying = self._trying, None
        await self._to_the_end(self._lock(reason, even_if_locked=trying is not None))

    async def unlock(self, passphrase: Secret | None = None) -> None:
        """Serve again, with what was kept. Raises `Locked`, `StorageError` where the key cannot be had.

        One is tried at a time, whoever leaves meanwhile: who comes with the same passphrase shares its outcome, with
        another is refused at once. Trying one takes 0.3 s, and a queue of them would be tried to its end.
        """
        trying = self._trying
        if trying is None:
            trying = self._trying = _Try(passphrase, self._begin(self._unlock(passphrase, self._locks)))
        elif trying.passphrase != passphrase:
            raise Locked("another unlock is being tried; try again in a moment: broker unlock")
        await asyncio.shield(trying.task)

    def check(self) -> None:
        """Raise `Locked` where a person must unlock first."""
        if self.locked:
            raise Locked("the broker is locked; run: broker unlock")

    async def _lock(self, reason: str, *, even_if_locked: bool) -> None:
        async with self._turn:
            if self.locked and not even_if_locked:
                return
            await self._opened()
            if not self.locked:
                self._shut(reason)
            await self.store.lock()
            await self._entries.reopen()
            gc.collect()  # what refers to itself in a circle would stay until a collection came by itself

    async def _unlock(self, passphrase: Secret | None, locks: int) -> None:
        try:
            async with self._turn:  # a lock under way ends first; one that comes later need not wait
                await self._opened()
            wanted = self.store.locked or self.store.wants_passphrase
            if locks == self._locks and (wanted or passphrase is not None):
                await self.store.unlock(passphrase)
            if locks != self._locks:
                raise Locked("somebody locked the broker meanwhile; run: broker unlock")
            self._serve_again()
        finally:
            if locks == self._locks:
                self._trying = None

    def _serve_again(self) -> None:
        was_locked, self.locked = self.locked, False
        for keeper in self._entries.keepers:
            keeper.unlock()
        self._take_up()
        self.used(self._clock.now())
        if was_locked:
            log.info("unlocked")
            self._publish(Event("unlocked", None, self._clock.now().wall))

    @property
    def warnings(self) -> list[tuple[str, str]]:
        """What a person should know, as (code, message)."""
        found = list(self.store.warnings)
        if self.store.wants_passphrase and not self.store.locked:
            found.append(("passphrase-wanted", "nothing is stored until you choose a passphrase; run: broker unlock"))
        return found

    def used(self, now: Now) -> None:
        """Somebody asks for a token."""
        self._used_at = now.mono

    def unused_s(self) -> float:
        """Seconds since somebody last did, or since the start."""
        return self._clock.now().mono - self._used_at

    async def close(self) -> None:
        """Write what is due."""
        if self._turns:
            await asyncio.wait(self._turns)
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait({self._opening})
        await self.store.close()

    async def _open(self) -> None:
        await self.store.open()
        self._reading = False
        self._tried_at = self._clock.now().mono
        if self.store.locked and self.store.wants_passphrase:
            self._shut("its passphrase has not been given yet")
        self._take_up()

    def _try_again_in_time(self) -> None:
        now = self._clock.now().mono
        if now >= self._tried_at + _TRY_AGAIN_S:
            self._tried_at = now
            self._opening = asyncio.create_task(self._try_again(), name="open the store")

    async def _try_again(self) -> None:
        try:
            await self.store.unlock()
        except BrokerError as error:
            log.debug("the store stays closed: %s", error)
        self._take_up()

    @property
    def _readable(self) -> bool:
        return not (self.locked or self._reading or self.store.locked)

    async def _to_the_end(self, turn: Coroutine[Any, Any, None]) -> None:
        """Run it to its end, also when whoever wanted it leaves: half locked is not locked."""
        await asyncio.shield(self._begin(turn))

    def _begin(self, turn: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(turn)
        self._turns.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, turn: asyncio.Task[None]) -> None:
        self._turns.discard(turn)
        if not turn.cancelled():
            turn.exception()  # told to who wanted it, or to nobody if there is none any more

    async def _opened(self) -> None:
        if self._opening is not None:
            await asyncio.wait({self._opening})

    def _shut(self, reason: str) -> None:
        self.locked = True
        for keeper in (*self._entries.keepers, *self._entries.leaving):
            keeper.lock()
        log.info("locked: %s", reason)
        self._publish(Event("locked", None, self._clock.now().wall, reason=reason))

    def _take_up(self) -> None:
        if not self._readable:
            return
        key = self.store.derive("fingerprint")
        for keeper in self._entries.keepers:
            keeper.fingerprint_key = key
            keeper.restore()
        for entry in self._entries.by_name.values():
            if entry.record is not None:
                entry.keeper.inputs_changed()  # it may have been asked for while the store was closed
        self._sweep()

    def _sweep(self) -> None:
        """Keep nothing of a credential or source that the config no longer names."""
        if not self._readable:
            return
        for record in self.store.names(TOKENS):
            if record.removeprefix(TOKENS) not in self._entries.by_name:
                self.store.discard(record)
        for record in self.store.names(LOGINS):
            if record.removeprefix(LOGINS) not in self._entries.sources:
                self.store.discard(record)
