"""The stored secrets, as `broker secret` sees them."""

from __future__ import annotations

from dataclasses import dataclass

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

    def delete(self, name: str) -> bool:
        """Remove one for good; return whether there was one."""
        client = self.state.client
        return self.state.either(lambda: client.delete_secret(name), lambda store: StoredSecrets(store).delete(name))
