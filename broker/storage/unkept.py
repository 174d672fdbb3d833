"""The store of a daemon that keeps nothing at rest (for as long as `EncryptedStore` is not built)."""

from __future__ import annotations

import hmac
import secrets

from broker.errors import StorageError
from broker.secret import Secret


class Unkept:
    """A `Store` that writes nothing."""

    persist = "off"
    locked = False

    def __init__(self) -> None:
        self.warnings: list[tuple[str, str]] = []
        self._key = secrets.token_bytes(32)

    async def open(self) -> None:
        """Nothing is to be read."""

    def get(self, name: str) -> Secret | None:  # noqa: ARG002  # the interface's
        """Nothing is kept."""
        return None

    def names(self, prefix: str) -> list[str]:  # noqa: ARG002  # the interface's
        """Nothing is kept."""
        return []

    async def put(self, name: str, value: Secret) -> None:  # noqa: ARG002  # the interface's
        """Refuse."""
        raise StorageError("secrets cannot be stored in this version")

    async def delete(self, name: str) -> bool:  # noqa: ARG002  # the interface's
        """Refuse."""
        raise StorageError("secrets cannot be stored in this version")

    def keep(self, name: str, value: Secret) -> None:
        """Nothing is kept."""

    def discard(self, name: str) -> None:
        """Nothing is kept."""

    def derive(self, purpose: str) -> bytes:
        """Random per run."""
        return hmac.digest(self._key, purpose.encode(), "sha256")

    async def lock(self) -> None:
        """Nothing is kept."""

    async def unlock(self, passphrase: Secret | None = None) -> None:
        """Nothing is kept."""

    async def close(self) -> None:
        """Nothing is to be written."""
