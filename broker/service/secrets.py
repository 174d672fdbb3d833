"""The secrets that a person stored here: what `broker secret` does, and what sources may see of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from broker.errors import (
    BadRequest,
    BrokerError,
    Locked,
    LoginRequired,
    NeedsLogin,
    PermanentFetchError,
    SourceFailed,
    StorageError,
    TransientFetchError,
)
from broker.model import NAME, TOKEN, Issued
from broker.secret import Secret, flaw
from broker.sources.interface import Secrets
from broker.storage.interface import SECRETS, Store


class StoredSecrets:
    """The records of `broker secret set`, by their own names. `changed` is told the name of each that changes."""

    def __init__(self, store: Store, changed: Callable[[str], None] = lambda _name: None) -> None:
        self._store = store
        self._changed = changed

    def names(self) -> list[str]:
        """Name what is stored, sorted. Raises `Locked`."""
        return [record.removeprefix(SECRETS) for record in self._store.names(SECRETS)]

    def get(self, name: str) -> Secret | None:
        """Return one; None where there is none. Raises `Locked`."""
        return self._store.get(SECRETS + name)

    async def put(self, name: str, value: Secret) -> None:
        """Store one for good. Raises `BadRequest` for what could not be served, `Locked`, `StorageError`."""
        _check(name)
        if (problem := flaw(value.reveal())) is not None:
            raise BadRequest(f"secret {name}: the value {problem}; nothing was stored")
        await self._store.put(SECRETS + name, value)
        self._changed(name)

    async def delete(self, name: str) -> bool:
        """Remove one for good; return whether there was one. Raises `BadRequest`, `Locked`, `StorageError`."""
        _check(name)
        found = await self._store.delete(SECRETS + name)
        if found:
            self._changed(name)
        return found


@dataclass(frozen=True, slots=True)
class LentSecrets:
    """The same as `sources.interface.Secrets`: with the errors that a source speaks in."""

    stored: StoredSecrets

    def get(self, name: str) -> Secret | None:
        """Return a record; None where there is none."""
        try:
            return self.stored.get(name)
        except Locked as error:
            raise TransientFetchError(str(error)) from None

    async def put(self, name: str, value: Secret) -> None:
        """Store a record for good."""
        try:
            await self.stored.put(name, value)
        except (BadRequest, Locked, StorageError) as error:
            raise TransientFetchError(str(error)) from None

    async def delete(self, name: str) -> bool:
        """Remove a record for good; return whether there was one."""
        try:
            return await self.stored.delete(name)
        except (BadRequest, Locked, StorageError) as error:
            raise TransientFetchError(str(error)) from None


async def _no_other(_credential: str) -> Issued:
    raise SourceFailed("its token is to be had from a running daemon alone; run: broker start")


@dataclass(frozen=True, slots=True)
class Lending:
    """The `sources.interface.Context` that sources are opened with. `ask`: gives the token of a credential."""

    secrets: Secrets
    ask: Callable[[str], Awaitable[Issued]] = _no_other

    async def token(self, credential: str) -> Secret:
        """Return the token of another credential."""
        try:
            issued = await self.ask(credential)
        except NeedsLogin as error:
            raise LoginRequired(f"credential {credential}: {error}") from None
        except BrokerError as error:
            raise TransientFetchError(f"credential {credential}: {error}") from None
        if TOKEN not in issued.parts:
            raise PermanentFetchError(f"credential {credential} is a whole {issued.kind}, not a single token")
        return issued.parts[TOKEN]


def _check(name: str) -> None:
    if not NAME.fullmatch(name):
        raise BadRequest("a secret's name is letters, digits and . _ - (at most 64, no . _ - first)")
