"""What a consumer of a face authorizes itself by: random for each, good for one credential, and remembered nowhere.

It holds as long as the key from which it is made: over restarts where there is a key at rest. It opens only the face,
where the guard judges whoever shows it; so it may stand in an environment or in a settings file.
"""

from __future__ import annotations

import hmac
import re
import secrets
from typing import Final

from broker.secret import Secret
from broker.storage.interface import Store

_PURPOSE: Final = "consumer"
_TOKEN: Final = re.compile(r"(?P<nonce>[0-9a-f]{32})(?P<proof>[0-9a-f]{64})", re.ASCII)


class ConsumerTokens:
    """Makes them and knows them again."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def lasting(self) -> bool:
        """Whether they outlast the daemon."""
        return self._store.persist != "off"

    def issue(self, face: str, credential: str) -> Secret:
        """Make one for a credential of a face."""
        nonce = secrets.token_hex(16)
        return Secret(nonce + self._proof(face, credential, nonce))

    def knows(self, face: str, credential: str, given: str) -> bool:
        """Whether this was issued for it."""
        found = _TOKEN.fullmatch(given)
        return found is not None and hmac.compare_digest(self._proof(face, credential, found["nonce"]), found["proof"])

    def _proof(self, face: str, credential: str, nonce: str) -> str:
        text = f"{face}\0{credential}\0{nonce}".encode(errors="surrogatepass")
        return hmac.new(self._store.derive(_PURPOSE), text, "sha256").hexdigest()
