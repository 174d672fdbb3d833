"""The stored secrets, as `broker secret` sees them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass

from broker.client import Client
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

    def put_all(self, values: Mapping[str, Secret], known: Collection[str]) -> None:
        """Store several for good, and where one cannot be, none. Raises what `put` raises.

        `known`: names that are there already; what they had is not put back.
        """
        daemons = _Daemons(self.state.client)
        self.state.either(
            lambda: asyncio.run(_all_or_none(daemons, values, known)),
            lambda store: _all_or_none(StoredSecrets(store), values, known),
        )

    def delete(self, name: str) -> bool:
        """Remove one for good; return whether there was one."""
        client = self.state.client
        return self.state.either(lambda: client.delete_secret(name), lambda store: StoredSecrets(store).delete(name))


@dataclass(frozen=True, slots=True)
class _Daemons:
    """The secrets of a running daemon, called as those of a store are."""

    client: Client

    async def put(self, name: str, value: Secret) -> None:
        self.client.put_secret(name, value)

    async def delete(self, name: str) -> bool:
        return self.client.delete_secret(name)


async def _all_or_none(stored: _Daemons | StoredSecrets, values: Mapping[str, Secret], known: Collection[str]) -> None:
    done: list[str] = []
    try:
        for name, value in values.items():
            await stored.put(name, value)
            done.append(name)
    except BrokerError:
        for name in (name for name in done if name not in known):
            with suppress(BrokerError):
                await stored.delete(name)
        raise
