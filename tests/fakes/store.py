"""A `Store` in memory: what a daemon kept is there for the next one, as long as the test holds on to it."""

from __future__ import annotations

import asyncio
import hmac
from dataclasses import dataclass, field
from typing import Final

from broker.errors import Locked, StorageError
from broker.secret import Secret

PASSPHRASE: Final = "fake-passphrase"  # a fake's


@dataclass
class FakeStore:
    """`persist`: where its key pretends to live; "off" stores nothing, "passphrase" wants `PASSPHRASE` to unlock.

    `opens_in_s`: how long the first `open` takes, `unlocks_in_s` each `unlock`. `away`: its key's home does not answer. `chosen`: there is a
    passphrase already.
    """

    persist: str = "keyring"
    locked: bool = False
    warnings: list[tuple[str, str]] = field(default_factory=list)
    records: dict[str, Secret] = field(default_factory=dict)
    unlocks: int = 0
    unlocks_in_s: float = 0.0
    locks: int = 0
    closed: bool = False
    opens_in_s: float = 0.0
    away: bool = False
    chosen: bool = True
    early: dict[str, Secret] = field(default_factory=dict)

    async def open(self) -> None:
        """Take as long as the test says; what was kept meanwhile is stored then."""
        await asyncio.sleep(self.opens_in_s)
        self.opens_in_s = 0.0
        self.records |= self.early

    @property
    def wants_passphrase(self) -> bool:
        """Where its key is one."""
        return self.persist == "passphrase" and (self.locked or not self.chosen)

    def get(self, name: str) -> Secret | None:
        """Look it up."""
        self._check()
        return self.records.get(name)

    def names(self, prefix: str) -> list[str]:
        """List them."""
        self._check()
        return sorted(name for name in self.records if name.startswith(prefix))

    async def put(self, name: str, value: Secret) -> None:
        """Store it."""
        self._check_home()
        self.records[name] = value

    async def delete(self, name: str) -> bool:
        """Remove it."""
        self._check_home()
        return self.records.pop(name, None) is not None

    def keep(self, name: str, value: Secret) -> None:
        """Store it, where that is possible."""
        if not self.locked and self.chosen and self.persist != "off":
            (self.early if self.opens_in_s else self.records)[name] = value

    def discard(self, name: str) -> None:
        """Forget it, where that is possible."""
        if not self.locked:
            self.records.pop(name, None)

    def derive(self, purpose: str) -> bytes:
        """Derive from a key that everybody knows."""
        return hmac.digest(b"at-rest key of the tests", purpose.encode(), "sha256")

    async def lock(self) -> None:
        """Refuse from now on; without a home there is no file to be locked."""
        self.locks += 1
        self.locked = self.persist != "off"

    async def unlock(self, passphrase: Secret | None = None) -> None:
        """Serve again; a lock that comes meanwhile wins."""
        self.unlocks += 1
        locks = self.locks
        await asyncio.sleep(self.unlocks_in_s)
        if locks != self.locks:
            raise Locked("locked; run: broker unlock")
        if self.away:
            raise Locked("the keyring does not answer")
        if self.persist == "passphrase" and passphrase != Secret(PASSPHRASE):
            raise Locked("that is not the passphrase; try again: broker unlock")
        self.locked, self.chosen = False, True

    async def close(self) -> None:
        """Note it."""
        self.closed = True

    def _check(self) -> None:
        if self.opens_in_s:
            raise Locked("the store is still being opened; try again")
        if self.locked:
            raise Locked("cache.bin is locked; run: broker unlock")

    def _check_home(self) -> None:
        self._check()
        if self.persist == "off":
            raise StorageError("nothing can be stored: there is no home for a key")
