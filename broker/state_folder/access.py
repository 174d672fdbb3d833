"""What is in the state folder: through the daemon where one runs, since it owns it; else opened for the moment."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from broker import config, locks, os_keyring, paths
from broker.client import Client, NotRunning
from broker.errors import AlreadyRunning, Locked, NoKeyHome, StorageError
from broker.secret import Secret
from broker.storage.homes.keyring import KEY, SERVICE
from broker.storage.store import EncryptedStore

T = TypeVar("T")

_PATIENCE_S: Final = 15.0
"""How long to wait for a daemon that is starting or ending: it has the store, but does not answer."""

_AGAIN_S: Final = 0.05
_KEYRING_S: Final = 5.0
_ELSEWHERE: Final = (
    "the daemon reaches no keyring, though this session has one: it was started outside of it; run: broker restart"
)


def _has_keyring() -> bool:
    """Whether this session reaches one. A daemon that ssh or cron started has no bus, and would be given a passphrase."""
    try:
        os_keyring.ask([os_keyring.get(SERVICE, KEY)], _KEYRING_S, only_protected=True)
    except os_keyring.NoKeyring:
        return False
    except os_keyring.KeyringTrouble:
        return True  # locked, say
    return True


@contextmanager
def _unlogged() -> Iterator[None]:
    """Keep Python from printing what is logged: it does so where nobody set up a log, and the error says it again."""
    silent, logger = logging.NullHandler(), logging.getLogger("broker")
    logger.addHandler(silent)
    try:
        yield
    finally:
        logger.removeHandler(silent)


@dataclass(frozen=True, slots=True)
class State:
    """The state folder. `passphrase(new)` asks a person for it where that is the key, a `new` one twice.

    `choose()` does that where the key has no place yet; it gives None where nobody can be asked. `warn` is told what is wrong with the store though the work was done (a daemon says it in its status).
    """

    client: Client
    config_path: Path
    passphrase: Callable[[bool], Secret]
    warn: Callable[[str], None] = lambda _message: None
    choose: Callable[[], Secret | None] = lambda: None

    def either(
        self, ask: Callable[[], T], work: Callable[[EncryptedStore], Awaitable[T]], *, may_create: bool = True
    ) -> T:
        """Ask the daemon, or do it under the folder's lock; a daemon may come or go between the two.

        `may_create`: where there is no store yet whose key is a passphrase, ask for a new one. Raises what either
        raises, and `Locked` where the key cannot be had.
        """
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return self._asked(ask)
            except NotRunning:
                pass
            try:
                return self._alone(work, may_create=may_create)
            except AlreadyRunning:
                if time.monotonic() > deadline:
                    raise
            time.sleep(_AGAIN_S)

    def _asked(self, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except NoKeyHome:
            if _has_keyring():
                raise StorageError(_ELSEWHERE) from None
            chosen = self.choose()
            if chosen is None:
                raise
            self.client.unlock(chosen)
            return ask()

    def _alone(self, work: Callable[[EncryptedStore], Awaitable[T]], *, may_create: bool) -> T:
        settings = config.read_daemon(self.config_path)
        folder = paths.state_dir()
        store = EncryptedStore(folder, settings.persist)
        lock = locks.take(folder, locks.STATE)
        try:
            with _unlogged():
                done = asyncio.run(self._opened(store, work, may_create=may_create))
        finally:
            os.close(lock)
        for _, message in store.warnings:
            self.warn(message)
        return done

    async def _opened(
        self, store: EncryptedStore, work: Callable[[EncryptedStore], Awaitable[T]], *, may_create: bool
    ) -> T:
        await store.open()
        try:
            if store.wants_passphrase and (may_create or store.locked):
                await store.unlock(self.passphrase(not store.locked))
            return await self._worked(store, work)
        except Locked as error:
            if store.wants_passphrase:
                raise
            # Perhaps only a daemon of the service manager's is handed the key.
            raise Locked(f"{error}; or let the daemon do it: broker start") from None
        finally:
            await store.close()

    async def _worked(self, store: EncryptedStore, work: Callable[[EncryptedStore], Awaitable[T]]) -> T:
        try:
            return await work(store)
        except NoKeyHome:
            chosen = self.choose()
            if chosen is None:
                raise
            await store.unlock(chosen)
            return await work(store)
