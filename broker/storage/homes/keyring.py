"""The key in the operating system's keyring, and beside it a mark of the newest write."""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import Final

from broker import os_keyring
from broker.errors import BrokerError
from broker.secret import Secret
from broker.storage.header import SALT_BYTES
from broker.storage.homes.interface import Absent, Lock, Mark, Opened, Unreachable

SERVICE: Final = "claude-credential-broker"
KEY: Final = "cache-key"
"""User name of the key's entry: 64 hexadecimal digits."""

_KEY_BYTES: Final = 32
_MARK: Final = re.compile(rf"[0-9a-f]{{{2 * SALT_BYTES}}} [0-9]{{1,20}}", re.ASCII)


class KeyringHome:
    """The keyring, for the store in `folder`. One key serves all folders; each has a mark of its own."""

    name = "keyring"
    counts = True

    def __init__(self, folder: Path, timeout_s: float) -> None:
        self._mark_name = f"newest write in {folder.resolve()}"
        self._timeout_s = timeout_s

    def open(self, lock: Lock, passphrase: Secret | None) -> Opened:  # noqa: ARG002  # the keyring needs neither
        """Read key and mark; make a random key at first need. Raises `Absent`, `Unreachable`."""
        new = Secret(secrets.token_hex(_KEY_BYTES))
        key, mark = self._ask(os_keyring.add(SERVICE, KEY, new), os_keyring.get(SERVICE, self._mark_name))
        return Opened(_material(key), _mark(mark))

    def remember(self, mark: Mark) -> None:
        """Write the mark. Raises `Absent`, `Unreachable`."""
        self._ask(os_keyring.put(SERVICE, self._mark_name, Secret(f"{mark.store.hex()} {mark.generation}")))

    def _ask(self, *requests: os_keyring.Request) -> list[Secret | None]:
        try:
            return os_keyring.ask(requests, self._timeout_s, only_protected=True)
        except os_keyring.NoKeyring as error:
            raise Absent(str(error)) from None
        except BrokerError as error:
            raise Unreachable(str(error)) from None


def _material(entry: Secret | None) -> bytes:
    try:
        key = bytes.fromhex("" if entry is None else entry.reveal())
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        raise Unreachable(
            f"the keyring's entry {SERVICE}/{KEY} is no key of the broker's; put back the right one, or run:"
            f" keyring del {SERVICE} {KEY}"
        )
    return key


def _mark(entry: Secret | None) -> Mark | None:
    text = "" if entry is None else entry.reveal()
    if not _MARK.fullmatch(text):  # none yet, or nothing of ours
        return None
    store, _, generation = text.partition(" ")
    return Mark(bytes.fromhex(store), int(generation))
