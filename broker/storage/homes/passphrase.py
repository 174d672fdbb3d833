"""The key stretched from a passphrase that a person types at each start."""

from __future__ import annotations

import hashlib
import unicodedata
from typing import Final

from broker.secret import Secret
from broker.storage.header import Cost
from broker.storage.homes.interface import Lock, Mark, NeedsPassphrase, Opened, Unreachable

LENGTH_MIN: Final = 8
"""Characters of a new passphrase. scrypt makes guessing slow, not impossible."""

_KEY_BYTES: Final = 32


class PassphraseHome:
    """A person's memory."""

    name = "passphrase"
    counts = False

    def open(self, lock: Lock, passphrase: Secret | None) -> Opened:
        """Stretch the passphrase, which takes half a second. Raises `NeedsPassphrase`."""
        if passphrase is None:
            raise NeedsPassphrase("the passphrase is needed; run: broker unlock")
        if lock.is_new and len(passphrase.reveal()) < LENGTH_MIN:
            raise NeedsPassphrase(f"a new passphrase needs {LENGTH_MIN} characters or more; run: broker unlock")
        return Opened(_stretched(passphrase, lock.salt, lock.cost or Cost()))

    def remember(self, mark: Mark) -> None:
        """Do nothing: people do not count writes."""


def _stretched(passphrase: Secret, salt: bytes, cost: Cost) -> bytes:
    # However it was typed, the same characters give the same key: keyboards differ in how they compose accents.
    text = unicodedata.normalize("NFC", passphrase.reveal()).encode(errors="surrogatepass")
    n = 1 << cost.log_n
    memory = 128 * cost.r * (n + cost.p + 2) + (1 << 20)
    try:
        return hashlib.scrypt(text, salt=salt, n=n, r=cost.r, p=cost.p, maxmem=memory, dklen=_KEY_BYTES)
    except (MemoryError, ValueError):
        raise Unreachable(f"the passphrase takes {memory >> 20} MB of memory to check, which are not there") from None
