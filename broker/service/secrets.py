"""The secrets that a person stored here: what `broker secret` does, and what sources may see of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

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
from broker.secret import Secret, flaw_of_text
from broker.service.changes import Changes
from broker.service.events import Who
from broker.sources.interface import LoginRecord, Secrets
from broker.storage.interface import SECRETS, Store

STORED: Final = "secret-stored"
DELETED: Final = "secret-deleted"

Changed = Callable[[str, str, Who | None], None]
"""Told of each change: the name, what became of it (`STORED`, `DELETED`), and who did it, None for a source."""


class StoredSecrets:
    """The records of `broker secret set`, by their own names."""

    def __init__(self, store: Store, changed: Changed = lambda _name, _what, _who: None) -> None:
        self._store = store
        self._changed = changed
        self._changes = Changes()

    def names(self) -> list[str]:
        """Name what is stored, sorted. Raises `Locked`."""
        return [record.removeprefix(SECRETS) for record in self._store.names(SECRETS)]

    def get(self, name: str) -> Secret | None:
        """Return one; None where there is none. Raises `Locked`."""
        return self._store.get(SECRETS + name)

    async def put(self, name: str, value: Secret, who: Who | None = None) -> None:
        """Store one for good. Raises `BadRequest` for what is no text, `Locked`, `StorageError`."""
        _check(name)
        if (problem := flaw_of_text(value.reveal())) is not None:
            raise BadRequest(f"secret {name}: the value {problem}; nothing was stored")
        await self._changes.to_the_end(self._put(name, value, who))

    async def delete(self, name: str, who: Who | None = None) -> bool:
        """Remove one for good; return whether there was one. Raises `BadRequest`, `Locked`, `StorageError`."""
        _check(name)
        return await self._changes.to_the_end(self._delete(name, who))

    async def _put(self, name: str, value: Secret, who: Who | None) -> None:
        await self._store.put(SECRETS + name, value)
        self._changed(name, STORED, who)

    async def _delete(self, name: str, who: Who | None) -> bool:
        found = await self._store.delete(SECRETS + name)
        if found:
            self._changed(name, DELETED, who)
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
class NoLogin:
    """The `sources.interface.LoginRecord` where no daemon runs: nobody can tell whether somebody is signed in."""

    command: str = "broker login SOURCE"

    def get(self) -> Secret | None:
        """Say so."""
        raise TransientFetchError("the sign-in is known to a running daemon alone; run: broker start")

    async def put(self, _value: Secret) -> bool:
        """Keep nothing."""
        return False

    async def delete(self) -> None:
        """Nothing is kept."""


@dataclass(frozen=True, slots=True)
class Lending:
    """The `sources.interface.Context` that a source is opened with.

    `ask` gives the token of a credential, `ask_unused` one that nobody was lent before.
    """

    secrets: Secrets
    ask: Callable[[str], Awaitable[Issued]] = _no_other
    login: LoginRecord = NoLogin()
    ask_unused: Callable[[str], Awaitable[Issued]] = _no_other

    async def token(self, credential: str, *, fresh: bool = False) -> Secret:
        """Return the token of another credential."""
        try:
            issued = await (self.ask_unused if fresh else self.ask)(credential)
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
