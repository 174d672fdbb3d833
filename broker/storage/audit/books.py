"""The daemon's audit trail: the recorder with the encrypted store's key, and the last line kept in that store."""

from __future__ import annotations

import asyncio
import hmac
import json
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Final

from broker.errors import BrokerError
from broker.secret import Secret
from broker.storage.audit.chain import Facts, Key, Link
from broker.storage.audit.proof import Verdict
from broker.storage.audit.recorder import Audit
from broker.storage.interface import Store

ANCHOR: Final = "audit/anchor"
"""The store's record of the trail's last line: whoever cuts lines off the end would have to change that too."""

PURPOSE: Final = "audit"


class Books:
    """Records in `folder` under the key of `store`; to be made and used where the event loop runs.

    The key may come late (a keyring, a passphrase) or never: what is recorded before `open` waits in memory, and
    under whatever key there is then, a random one at worst; the real one is taken up when it comes.
    """

    def __init__(self, folder: Path, store: Store) -> None:
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._audit = Audit(folder, self._remember)
        self._key: Key | None = None

    async def open(self) -> None:
        """Begin to write, once the store had its time to fetch the key."""
        await self._store.open()
        self._follow()

    def record(self, at: float, facts: Facts) -> None:
        """Note what happened at `at` (epoch seconds). Returns at once, never raises."""
        if self._key is not None:
            self._follow()
        self._audit.record(at, facts)

    def verify(self) -> Future[Verdict]:
        """Check the whole trail, between two writes. The future may raise `StorageError`."""
        return self._audit.verify()

    @property
    def warnings(self) -> list[tuple[str, str]]:
        """What a person should know, as (code, message)."""
        return self._audit.warnings

    async def close(self) -> None:
        """Write what is there, and let the store remember the end; a disk that hangs is given up on."""
        await asyncio.to_thread(self._audit.close)

    def _follow(self) -> None:
        """Use the store's key, and again when it is another than before."""
        key = key_of(self._store)
        if self._key is None or not hmac.compare_digest(key.secret, self._key.secret):
            self._key = key
            self._audit.start(key, anchor(self._store))

    def _remember(self, link: Link) -> None:
        """Called in the recorder's thread."""
        with suppress(RuntimeError):  # the loop is closed: the daemon ended without waiting for a disk that hangs
            self._loop.call_soon_threadsafe(self._store.keep, ANCHOR, Secret(_written(link)))


def key_of(store: Store) -> Key:
    """Derive the trail's key; one of this run alone where the store has none."""
    kept = store.persist != "off" and not store.locked and not store.wants_passphrase
    return Key(store.derive(PURPOSE), kept=kept)


def anchor(store: Store) -> Link | None:
    """Return the last line that the store remembers; None where it does not, or is locked."""
    try:
        secret = store.get(ANCHOR)
    except BrokerError:
        return None
    return _read(secret.reveal()) if secret is not None else None


def _written(link: Link) -> str:
    return json.dumps({"seq": link.seq, "mac": link.mac, "key": link.key, "oldest": link.oldest})


def _read(text: str) -> Link | None:
    """Read what `_written` wrote, by this version or another."""
    try:
        said = json.loads(text)
        return Link(int(said["seq"]), str(said["mac"]), str(said["key"]), int(said["oldest"]))
    except (ValueError, TypeError, KeyError):
        return None
