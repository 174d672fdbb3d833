"""What the rest of the project may do with secrets at rest, behind one interface."""

from __future__ import annotations

from typing import Final, Protocol

from broker.secret import Secret

SECRETS: Final = "secret/"
"""Prefix of the records that a person stored by `broker secret set`."""

TOKENS: Final = "token/"
"""Prefix of the records that are only a cache: a credential's last token, by the credential's name."""


LOGINS: Final = "login/"
"""Prefix of the records that `broker login` made: what a person's sign-in gave, by the source's name."""


class Store(Protocol):
    """Named secret records, in memory while unlocked, and encrypted at rest where a key has a home.

    Where no key has a home (`persist` is "off") nothing is ever written: `keep` and `discard` do nothing, and `put`
    and `delete` raise (`NoKeyHome` where that is nobody's wish).

    The real one is `broker.storage.store.EncryptedStore(folder, persist)`, for whoever holds the folder's lock. Making
    it does nothing yet; `begin()`, before there is an event loop even, lets it fetch the key and read the file in a
    thread meanwhile; `open()` waits for that.
    """

    async def open(self) -> None:
        """Have the key fetched from its home and the file read. Until then `get`, `names`, `put` raise `Locked`.

        Bounded (a keyring that asks a person is left alone after seconds). Never raises: what went wrong is said by
        `locked` and `warnings`.
        """

    @property
    def persist(self) -> str:
        """Where the key lives, as `status` says it: `keyring`, `systemd`, `passphrase` or `off`."""

    @property
    def locked(self) -> bool:
        """Whether there is a file of records whose key this process does not hold now."""

    @property
    def wants_passphrase(self) -> bool:
        """Whether `unlock` needs a passphrase: that of the file, or a new one for the file that is to be made."""

    @property
    def warnings(self) -> list[tuple[str, str]]:
        """What a person should know, as (code, message): a file set aside, an older one put back, a full disk."""

    def get(self, name: str) -> Secret | None:
        """Return a record; None where there is none. From memory, at once. Raises `Locked`."""

    def names(self, prefix: str) -> list[str]:
        """Name the records that begin with `prefix`, sorted. Raises `Locked`."""

    async def put(self, name: str, value: Secret) -> None:
        """Store a record for good: when this returns it survives power loss. Raises `Locked`, `StorageError`."""

    async def delete(self, name: str) -> bool:
        """Remove a record for good; return whether there was one. Raises `Locked`, `StorageError`."""

    def keep(self, name: str, value: Secret) -> None:
        """Store a cache record soon, off every caller's path; losing it in a crash costs one fetch. Never raises."""

    def discard(self, name: str) -> None:
        """Forget a cache record: in memory now, on disk soon. Never raises."""

    def derive(self, purpose: str) -> bytes:
        """Return 32 bytes for one purpose: derived from the at-rest key, else random and the same for this run.

        So it changes once, with the first `open` or `unlock` that yields a key; it outlasts `lock`.
        """

    async def lock(self) -> None:
        """Write what is due, then drop every record and the key from memory."""

    async def unlock(self, passphrase: Secret | None = None) -> None:
        """Fetch the key from its home, or derive it, and read the file again. Raises `Locked`, `StorageError`.

        Where no key has a home, though one is wanted, a passphrase makes one.
        """

    async def close(self) -> None:
        """Write what is due."""
