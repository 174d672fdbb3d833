"""Writes the file, and has the key's home count the writes."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from broker.errors import StorageError
from broker.secret import Secret
from broker.storage import disk, records, threads
from broker.storage.header import WRITE_ID_BYTES, Header
from broker.storage.homes.interface import Mark
from broker.storage.later import Later
from broker.storage.loading import Key, Warnings

COUNT_WITHIN_S: Final = 30.0
"""A cache record's write is counted so much later: each count is a process, and a rewrite of the keyring."""

log = logging.getLogger(__name__)

_MENDED_BY: Final = {
    errno.ENOSPC: "make room there",
    errno.EDQUOT: "make room there",
    errno.EROFS: "make it writable",
    errno.EACCES: "make it writable",
    errno.EPERM: "make it writable",
}
_UNWRITABLE: Final = "storage-unwritable"
_UNCOUNTED: Final = "storage-uncounted"


class Writer:
    """Writes with one key. Not to be called twice at a time. `warnings` is where trouble is noted, and cleared."""

    def __init__(self, folder: Path, key: Key, warnings: Warnings) -> None:
        self._folder = folder
        self._key = key
        self._warnings = warnings
        self._next = key.generation + 1
        self._written = key.generation
        self._counted = key.marked.generation if key.marked is not None else 0
        self._counting = Later(self._count, COUNT_WITHIN_S)
        self._at_the_home = asyncio.Lock()
        if self._written > self._counted:
            self._count_later()  # a crash came between a write and its count

    async def write(self, values: Mapping[str, Secret], *, count_at_once: bool) -> None:
        """Replace the file. Raises `StorageError`: then the old one is whole, and may or may not be the new one."""
        generation, self._next = self._next, self._next + 1
        try:
            await threads.run(lambda: self._replace(values, generation))
        except (OSError, ValueError) as error:
            message = self._what_went_wrong(error)
            self._warn(_UNWRITABLE, message)
            raise StorageError(message) from None
        self._warnings.pop(_UNWRITABLE, None)
        # Only now: a count ahead of the file would make our own file look like an older one after a crash.
        self._written = generation
        if count_at_once:
            self._count_now()
        else:
            self._count_later()

    @property
    def newest(self) -> Mark | None:
        """The last write that succeeded; None where there was none."""
        return Mark(self._key.lock.salt, self._written) if self._written > self._key.generation else None

    async def settle(self) -> None:
        """Have everything counted."""
        await self._counting.settle()

    def _replace(self, values: Mapping[str, Secret], generation: int) -> None:
        lock = self._key.lock
        write_id = os.urandom(WRITE_ID_BYTES)
        header = Header(self._key.home.name, lock.salt, b"", generation, 0, write_id, lock.cost)
        plain = {name: value.reveal().encode() for name, value in values.items()}
        disk.replace(self._folder, records.encode(header, self._key.root, plain))

    def _count_later(self) -> None:
        if self._key.home.counts:
            self._counting.due()

    def _count_now(self) -> None:
        if self._key.home.counts:
            self._counting.at_once()

    async def _count(self) -> None:
        async with self._at_the_home:
            newest = Mark(self._key.lock.salt, self._written)
            if newest.generation <= self._counted:
                return
            try:
                await threads.run(lambda: self._key.home.remember(newest))
            except StorageError as error:
                self._warn(_UNCOUNTED, f"an older {disk.NAME} put back would not be noticed: {error}")
            else:
                self._counted = newest.generation
                self._warnings.pop(_UNCOUNTED, None)

    def _what_went_wrong(self, error: OSError | ValueError) -> str:
        path = self._folder / disk.NAME
        if not isinstance(error, OSError):
            return f"{path}: cannot be written ({error}); what is stored there is kept"
        mend = _MENDED_BY.get(error.errno or 0, "look at that disk")
        return f"{path}: cannot be written ({error.strerror}); what is stored there is kept; {mend}"

    def _warn(self, code: str, message: str) -> None:
        if code not in self._warnings:  # said already otherwise: what is tried again must not fill the log
            log.warning("%s", message)
        self._warnings[code] = message
