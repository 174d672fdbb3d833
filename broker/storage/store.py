"""The encrypted store: records in memory, and in one file whose key lives elsewhere."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Coroutine, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from broker.errors import Locked, NoKeyHome, StorageError
from broker.secret import Secret
from broker.storage import limits, threads
from broker.storage.homes import AUTO, Homes
from broker.storage.later import Later
from broker.storage.loading import HAPPENED, NO_HOME, Loaded, load

if TYPE_CHECKING:  # at run time only where there is a key: it costs 8 MB
    from broker.storage.homes.interface import Mark
    from broker.storage.writing import Writer

T = TypeVar("T")
log = logging.getLogger(__name__)

KEEP_WITHIN_S: Final = 1.0
"""A cache record is written so much later, with all that come meanwhile: a thousand do not make a thousand writes."""

_RETRY_S: Final = 30.0
_START_S: Final = 5.0
"""How long a keyring may take at the start: one that asks a person is not waited for."""

_ASKED_S: Final = 30.0
"""How long it may take when a person just asked for it."""

_DISK_S: Final = 20.0
"""How long a write may take before we say that the disk hangs."""

_SETTLE_S: Final = 8.0
"""How long locking and closing wait for what is due."""


class EncryptedStore:
    """The `Store` in `folder`, whose lock the caller holds. `persist` as in the config."""

    def __init__(self, folder: Path, persist: str = AUTO) -> None:
        self._folder = folder
        self._setting = persist
        self._loading: Future[Loaded] | None = None
        self._loaded: Loaded | None = None
        self._writer: Writer | None = None
        self._records: dict[str, Secret] = {}
        self._unopened: dict[str, Secret | None] = {}
        self._dirty = self._urgent = False
        self._writing = asyncio.Lock()
        self._flushing = Later(self._flush, KEEP_WITHIN_S)
        self._warnings: dict[str, str] = {}
        self._derived: dict[str, bytes] = {}
        self._random: dict[str, bytes] = {}
        self._changes: set[asyncio.Task[Any]] = set()
        self._locks = 0
        self._newest: Mark | None = None

    # --- opening and locking ------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start to fetch the key and to read the file, in a thread; there need be no event loop yet."""
        if self._loading is None and self._loaded is None:
            homes = Homes(self._folder, self._setting, _START_S)
            self._loading = threads.begin(lambda: load(self._folder, homes))

    async def open(self) -> None:
        """Wait for the key and the file, at most some seconds. Never raises."""
        self.begin()
        if self._loading is not None:
            loaded = await asyncio.wrap_future(self._loading)
            if self._loaded is None:
                self._take(loaded)
            self._loading = None  # it holds the key and every record, which `lock` could not drop from there

    async def lock(self) -> None:
        """Write what is due, then drop every record and the key from memory, also when the disk or keyring hangs."""
        self._locks += 1
        await self.open()
        await self._settle()
        if self.persist != "off":
            self._newest = (self._writer.newest if self._writer is not None else None) or self._newest
            self._loaded = Loaded(self.persist, locked=True, problem="locked; run: broker unlock")
        self._writer = None
        self._records = {}
        self._unopened = {name: None for name, value in self._unopened.items() if value is None}
        self._dirty = self._urgent = False

    async def unlock(self, passphrase: Secret | None = None) -> None:
        """Fetch or derive the key and read the file again. Raises `Locked`.

        Where there is no home for a key and none was asked for, a new passphrase makes one.
        """
        await self.open()
        if self._writer is None:
            await self._load_again(passphrase)
        assert self._loaded is not None  # noqa: S101  # `open` made it
        if self._loaded.locked or self._loaded.wants_passphrase:
            raise Locked(self._loaded.problem)
        await self._flushing.settle()

    async def close(self) -> None:
        """Write what is due; a disk or keyring that hangs is given up on."""
        if self._loaded is not None:
            await self._settle()

    @property
    def persist(self) -> str:
        """Where the key lives: `keyring`, `systemd`, `passphrase` or `off`."""
        return self._loaded.persist if self._loaded is not None else "off"

    @property
    def locked(self) -> bool:
        """Whether there is a file of records whose key is not in memory; False until `open` has looked."""
        return self._loaded is not None and self._loaded.locked

    @property
    def wants_passphrase(self) -> bool:
        """Whether `unlock` needs a passphrase: that of the file, or a new one for the file that is to be made."""
        return self.persist == "passphrase" and self._writer is None

    @property
    def warnings(self) -> list[tuple[str, str]]:
        """What a person should know, as (code, message)."""
        return list(self._warnings.items())

    def derive(self, purpose: str) -> bytes:
        """Return 32 bytes for one purpose: derived from the at-rest key, else random and the same for this run."""
        if purpose not in self._derived and self._loaded is not None and self._loaded.key is not None:
            self._derived[purpose] = self._loaded.key.root.derive(purpose)
        known = self._derived.get(purpose)
        return known if known is not None else self._random.setdefault(purpose, secrets.token_bytes(32))

    # --- records ------------------------------------------------------------------------------------------------

    def get(self, name: str) -> Secret | None:
        """Return a record; None where there is none. Raises `Locked`."""
        self._check_readable()
        return self._records.get(name)

    def names(self, prefix: str) -> list[str]:
        """Name the records that begin with `prefix`, sorted. Raises `Locked`."""
        self._check_readable()
        return sorted(name for name in self._records if name.startswith(prefix))

    async def put(self, name: str, value: Secret) -> None:
        """Store a record for good. Raises `Locked`, `StorageError`."""
        limits.check(name, value)
        await self._to_the_end(self._change(name, value))

    async def delete(self, name: str) -> bool:
        """Remove a record for good; return whether there was one. Raises `Locked`, `StorageError`."""
        return await self._to_the_end(self._change(name, None))

    def keep(self, name: str, value: Secret) -> None:
        """Store a cache record soon. Never raises."""
        try:
            limits.check(name, value)
            limits.check_room(name, self._records)
        except StorageError as error:
            log.debug("not kept: %s", error)
            return
        if self._loaded is None:
            self._unopened[name] = value
        elif self._writer is not None:
            self._records[name] = value
            self._dirty = True
            self._flushing.due()

    def discard(self, name: str) -> None:
        """Forget a cache record: in memory now, on disk as soon as the disk can. Never raises."""
        if self._writer is None:
            self._unopened[name] = None
        elif self._records.pop(name, None) is not None:
            # Not a second later: killed before it is written, the next daemon would serve a token known to be bad.
            self._dirty = self._urgent = True
            self._flushing.at_once()

    # --- within -------------------------------------------------------------------------------------------------

    def _take(self, loaded: Loaded) -> None:
        self._loaded = replace(loaded, records={})  # the ones in use are elsewhere; these would outlive them
        before = {code: message for code, message in self._warnings.items() if code in HAPPENED}
        self._warnings = before | loaded.warnings
        for message in loaded.warnings.values():
            log.warning("%s", message)
        if loaded.key is None:
            return
        from broker.storage.writing import Writer  # noqa: PLC0415  # loads cryptography, now that there is a key

        self._writer = Writer(self._folder, loaded.key, self._warnings)
        self._records = _changed(loaded.records, self._unopened)
        self._dirty = loaded.due or bool(self._unopened)
        self._unopened = {}
        if self._dirty:
            self._flushing.at_once()

    async def _load_again(self, passphrase: Secret | None = None) -> None:
        homes = Homes(self._folder, self._setting, _ASKED_S)
        locks, newest = self._locks, self._newest
        async with self._writing:
            if self._writer is not None or locks != self._locks:
                return  # nor try a passphrase that somebody's lock called off while it waited here
            loaded = await threads.run(lambda: load(self._folder, homes, passphrase, newest))
            if locks == self._locks:  # else somebody locked again meanwhile
                self._take(loaded)

    async def _change(self, name: str, value: Secret | None) -> bool:
        await self._have_a_key()
        async with self._writing:
            writer, there = self._writer, name in self._records
            if writer is None:
                raise self._refusal()
            if value is None and not there:
                return False
            limits.check_room(name, self._records)
            await writer.write(_changed(self._records, {name: value}), count_at_once=True)
            if self._writer is writer:  # else it was locked meanwhile, and nothing is to be in memory
                self._records = _changed(self._records, {name: value})  # what was kept meanwhile stays
            return there

    async def _have_a_key(self) -> None:
        await self.open()
        assert self._loaded is not None  # noqa: S101  # `open` made it
        if self._writer is None and not self._loaded.locked and not self._loaded.wants_passphrase:
            await self._load_again()  # a keyring may have come, or have been unlocked, since the start

    async def _flush(self) -> None:
        async with self._writing:
            if self._writer is None or not self._dirty:
                return
            urgent, self._dirty, self._urgent = self._urgent, False, False
            try:
                await self._writer.write(dict(self._records), count_at_once=urgent)
            except StorageError:
                self._dirty, self._urgent = True, urgent
                self._flushing.due(_RETRY_S)

    async def _settle(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE_S):
                while self._changes:
                    await asyncio.wait(self._changes)
                await self._flushing.settle()
                if self._writer is not None:
                    await self._writer.settle()

    async def _to_the_end(self, change: Coroutine[Any, Any, T]) -> T:
        """Run a change to its end, also when the caller leaves: memory and disk must not differ."""
        task = asyncio.create_task(change)
        self._changes.add(task)
        task.add_done_callback(self._changed_at_last)
        try:
            async with asyncio.timeout(_DISK_S + _ASKED_S):
                return await asyncio.shield(task)
        except TimeoutError:
            raise StorageError(f"{self._folder}: the disk does not answer; whether it is stored is not known") from None

    def _changed_at_last(self, task: asyncio.Task[Any]) -> None:
        self._changes.discard(task)
        if not task.cancelled():
            task.exception()  # told to the caller, or to nobody if there is none any more

    def _check_readable(self) -> None:
        if self._loaded is None:
            raise Locked("the store is still being opened; try again")
        if self._loaded.locked:
            raise self._refusal()

    def _refusal(self) -> StorageError | Locked:
        assert self._loaded is not None  # noqa: S101  # asked only after `open`
        if self._loaded.locked or self._loaded.wants_passphrase:
            return Locked(self._loaded.problem)
        return (NoKeyHome if self._loaded.problem is NO_HOME else StorageError)(self._loaded.problem)


def _changed(records: Mapping[str, Secret], changes: Mapping[str, Secret | None]) -> dict[str, Secret]:
    merged = {**records, **changes}
    return {name: value for name, value in merged.items() if value is not None}
