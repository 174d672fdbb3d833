"""The stored secrets, as `broker secret` sees them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from broker.errors import BrokerError
from broker.secret import Secret
from broker.service.secrets import StoredSecrets
from broker.state_folder.access import State
from broker.storage.store import EncryptedStore


@dataclass(frozen=True, slots=True)
class Stored:
    """What `broker secret` does.

    Every method raises `StorageError` where nothing can be stored, `Locked`, and what `Client` raises.
    """

    state: State

    def names(self) -> list[str]:
        """Name what is stored."""

        async def work(store: EncryptedStore) -> list[str]:
            return StoredSecrets(store).names()

        return self.state.either(self.state.client.secrets, work)

    def put(self, name: str, value: Secret) -> None:
        """Store a secret for good. Raises `BadRequest` for one that is no text."""
        client = self.state.client
        self.state.either(lambda: client.put_secret(name, value), lambda store: StoredSecrets(store).put(name, value))

    def put_all(self, values: Mapping[str, Secret]) -> None:
        """Store several for good, and none of the new ones where one cannot be. Raises what `put` raises."""
        client = self.state.client
        before = set(self.names())

        def ask() -> None:
            done: list[str] = []
            try:
                for name, value in values.items():
                    client.put_secret(name, value)
                    done.append(name)
            except BrokerError:
                for name in (name for name in done if name not in before):
                    with suppress(BrokerError):
                        client.delete_secret(name)
                raise

        async def work(store: EncryptedStore) -> None:
            stored = StoredSecrets(store)
            done: list[str] = []
            try:
                for name, value in values.items():
                    await stored.put(name, value)
                    done.append(name)
            except BrokerError:
                for name in (name for name in done if name not in before):
                    with suppress(BrokerError):
                        await stored.delete(name)
                raise

        self.state.either(ask, work)

    def delete(self, name: str) -> bool:
        """Remove one for good; return whether there was one."""
        client = self.state.client
        return self.state.either(lambda: client.delete_secret(name), lambda store: StoredSecrets(store).delete(name))
