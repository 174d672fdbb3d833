"""The stored secrets: through the daemon where one runs, since it holds the store; else opened for the moment."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from broker import config, locks, paths
from broker.client import Client, NotRunning
from broker.errors import AlreadyRunning, Locked
from broker.secret import Secret
from broker.service.secrets import StoredSecrets
from broker.storage.store import EncryptedStore

T = TypeVar("T")

_PATIENCE_S: Final = 10.0
"""How long to wait for a daemon that is starting or ending: it has the store, but does not answer."""

_AGAIN_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Stored:
    """What `broker secret` does. `passphrase(new)` asks a person for it where that is the key, a `new` one twice.

    Every method raises `StorageError` where nothing can be stored, `Locked`, and what `Client` raises.
    """

    client: Client
    config_path: Path
    passphrase: Callable[[bool], Secret]

    def names(self) -> list[str]:
        """Name what is stored."""

        async def work(secrets: StoredSecrets) -> list[str]:
            return secrets.names()

        return self._either(self.client.secrets, work)

    def put(self, name: str, value: Secret) -> None:
        """Store a secret for good. Raises `BadRequest` for one that could not be served."""
        self._either(lambda: self.client.put_secret(name, value), lambda secrets: secrets.put(name, value))

    def delete(self, name: str) -> bool:
        """Remove one for good; return whether there was one."""
        return self._either(lambda: self.client.delete_secret(name), lambda secrets: secrets.delete(name))

    def _either(self, ask: Callable[[], T], work: Callable[[StoredSecrets], Awaitable[T]]) -> T:
        """Ask the daemon, or do it under the state folder's lock; a daemon may come or go between the two."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return ask()
            except NotRunning:
                pass
            try:
                return self._alone(work)
            except AlreadyRunning:
                if time.monotonic() > deadline:
                    raise
            time.sleep(_AGAIN_S)

    def _alone(self, work: Callable[[StoredSecrets], Awaitable[T]]) -> T:
        settings = config.read_daemon(self.config_path)
        folder = paths.state_dir()
        lock = locks.take(folder, locks.STATE)
        try:
            return asyncio.run(self._opened(EncryptedStore(folder, settings.persist), work))
        finally:
            os.close(lock)

    async def _opened(self, store: EncryptedStore, work: Callable[[StoredSecrets], Awaitable[T]]) -> T:
        await store.open()
        try:
            if store.wants_passphrase:
                await store.unlock(self.passphrase(not store.locked))
            return await work(StoredSecrets(store))
        except Locked as error:
            if store.wants_passphrase:
                raise
            # Perhaps only a daemon of the service manager's is handed the key.
            raise Locked(f"{error}; or let the daemon do it: broker start") from None
        finally:
            await store.close()
