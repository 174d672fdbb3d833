"""The at-rest key, and what is derived from it: HKDF-SHA256 (RFC 5869), one info for each use.

Imported only where there is a key: cryptography costs 8 MB of memory and 40 ms.
"""

from __future__ import annotations

from typing import Final, NoReturn

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from broker.storage.header import KEY_ID_BYTES

_OURS: Final = b"claude-credential-broker/1 "


class RootKey:
    """The key from which all others come; never used itself. Not shown by `repr`, not to be pickled.

    `material` is what the key's home gave: it need not be uniform, only unguessable.
    """

    __slots__ = ("_key",)

    def __init__(self, material: bytes) -> None:
        self._key = _hkdf(material, b"root")

    def of_records(self, salt: bytes, write_id: bytes) -> bytes:
        """Return the key of one write: what another write encrypted cannot be spliced in."""
        return _hkdf(self._key, b"records", salt=salt + write_id)

    def key_id(self, salt: bytes) -> bytes:
        """Name this key within one store, without showing it."""
        return _hkdf(self._key, b"key id", salt=salt)[:KEY_ID_BYTES]

    def derive(self, purpose: str) -> bytes:
        """Return 32 bytes for a use outside the file."""
        return _hkdf(self._key, b"purpose " + purpose.encode())

    def __repr__(self) -> str:
        return "RootKey(***)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key cannot be pickled or copied out of the process")


def _hkdf(key: bytes, info: bytes, salt: bytes | None = None) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=_OURS + info).derive(key)
