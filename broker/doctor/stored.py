"""What is in the encrypted store, as far as it can be read without touching it.

No lock is taken, no file set aside and no key made, as opening the store would: the doctor changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from broker import os_keyring
from broker.errors import StorageError, TransientFetchError
from broker.secret import Secret
from broker.storage import disk, header
from broker.storage.header import Header, Unreadable
from broker.storage.homes import OFF, Homes
from broker.storage.homes.interface import Absent, Lock, Unreachable
from broker.storage.homes.keyring import KEY, SERVICE
from broker.storage.interface import SECRETS

KEYRING_S: Final = 4.0
KEYRING: Final = "keyring"


@dataclass(frozen=True, slots=True)
class Stored:
    """What was seen. `home`: where the key lives, as `status` says it; `exists`: whether there is a file already.

    `trouble` keeps the `records` from being read: `Unreadable` and `OSError` are the file's, `Absent` and
    `Unreachable` its key's.
    """

    home: str
    exists: bool = False
    records: Mapping[str, Secret] = field(default_factory=dict, repr=False)
    trouble: Exception | None = None

    # --- as `broker.sources.interface.Secrets` ------------------------------------------------------------------

    def get(self, name: str) -> Secret | None:
        """Return what `broker secret set` stored."""
        if self.trouble is not None:
            raise TransientFetchError(f"the stored secrets cannot be read: {self.trouble}")
        return self.records.get(SECRETS + name)

    async def put(self, _name: str, _value: Secret) -> None:
        """Refuse."""
        raise TransientFetchError("the doctor stores nothing")

    async def delete(self, _name: str) -> bool:
        """Refuse."""
        raise TransientFetchError("the doctor removes nothing")


def look(folder: Path, persist: str, env: Mapping[str, str]) -> Stored:
    """Read the store in the state folder, at most for some seconds. `persist` as in the config. Raises nothing."""
    if persist == OFF:
        return Stored(OFF)
    homes = Homes(folder, persist, KEYRING_S, env)
    try:
        data = disk.read(folder)
        head = None if data is None else header.parse(data)
    except (Unreadable, OSError) as trouble:
        return Stored(homes.chosen(None).name, exists=True, trouble=trouble)
    home = homes.chosen(None if head is None else head.home).name
    try:
        if KEYRING in {home, None if head is None else head.home}:
            _ask_keyring(needed=head is not None)
        records = {} if data is None or head is None else _read(data, head, homes)
    except (Unreadable, StorageError) as trouble:
        return Stored(home, exists=head is not None, trouble=trouble)
    return Stored(home, head is not None, records)


def _ask_keyring(*, needed: bool) -> None:
    """Find out whether it answers, and holds the key if one is `needed`: `Home.open` would make one."""
    try:
        (key,) = os_keyring.ask([os_keyring.get(SERVICE, KEY)], KEYRING_S, only_protected=True)
    except os_keyring.NoKeyring as trouble:
        raise Absent(str(trouble)) from None
    except os_keyring.KeyringTrouble as trouble:
        raise Unreachable(str(trouble)) from None
    if key is None and needed:
        raise Unreachable(f"the keyring has no entry {SERVICE}/{KEY}, the stored secrets' key; put it back")


def _read(data: bytes, head: Header, homes: Homes) -> dict[str, Secret]:
    from broker.storage import records  # noqa: PLC0415  # loads cryptography, now that there is something to read
    from broker.storage.keys import RootKey  # noqa: PLC0415  # see above

    opened = homes.named(head.home).open(Lock(head.salt, head.cost, is_new=False), None)
    _, values = records.decode(data, RootKey(opened.material))
    return {name: Secret(value.decode(errors="replace")) for name, value in values.items()}
