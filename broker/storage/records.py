"""The records of `cache.bin`, sealed: bytes in, records out, and back.

    seal:    the empty text encrypted with nonce 0: authenticates the header, also where there are no records
    record:  length of the name (2 bytes) | length of the ciphertext (4) | name | ciphertext

AES-256-GCM. The associated data of each record is the whole header (version, generation, count and write id in it)
and the name. The key is derived for this one write, whose id is 32 random bytes, so (key, nonce) never repeats
although the nonce is the record's place: a record that was moved, doubled, left out, or taken from another
generation of the same store does not decrypt.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from broker.storage import header as heading
from broker.storage.header import Header, Reason, Unreadable
from broker.storage.keys import RootKey

_FRAME: Final = struct.Struct(">HI")
_TAG_BYTES: Final = 16


def encode(header: Header, root: RootKey, records: Mapping[str, bytes]) -> bytes:
    """Write a whole file. `header.count` and `header.key_id` are filled in here. Raises `ValueError` beyond a limit."""
    names = [name.encode() for name in records]
    frames = sum(_FRAME.size + len(name) + len(value) + _TAG_BYTES for name, value in zip(names, records.values()))  # noqa: B905  # the same mapping
    length = heading.SIZE + _TAG_BYTES + frames + heading.CHECKSUM_BYTES
    if length > heading.FILE_MAX or len(names) > heading.RECORDS_MAX:
        raise ValueError(f"{len(names)} records in {length} bytes are too much for one file")
    header = replace(header, count=len(names), key_id=root.key_id(header.salt))
    head = header.pack(length)
    cipher = AESGCM(root.of_records(header.salt, header.write_id))
    parts = [head, cipher.encrypt(_nonce(0), b"", head)]
    for place, (name, value) in enumerate(zip(names, records.values(), strict=True), 1):
        sealed = cipher.encrypt(_nonce(place), value, head + name)
        parts += [_FRAME.pack(len(name), len(sealed)), name, sealed]
    return heading.finished(b"".join(parts))


def decode(data: bytes, root: RootKey) -> tuple[Header, dict[str, bytes]]:
    """Read a whole file. Raises `Unreadable`, and nothing else, whatever the bytes are."""
    header = heading.parse(data)
    if header.key_id != root.key_id(header.salt):
        raise Unreadable(Reason.FOREIGN, "it was written with another key than the one found")
    cipher = AESGCM(root.of_records(header.salt, header.write_id))
    try:
        return header, _decrypt(data, header, cipher)
    except (InvalidTag, struct.error, UnicodeDecodeError, IndexError):
        raise Unreadable(Reason.CORRUPT, "it was changed by somebody without its key") from None


def _decrypt(data: bytes, header: Header, cipher: AESGCM) -> dict[str, bytes]:
    head, end = data[: heading.SIZE], len(data) - heading.CHECKSUM_BYTES
    at = heading.SIZE + _TAG_BYTES
    cipher.decrypt(_nonce(0), data[heading.SIZE : at], head)
    records: dict[str, bytes] = {}
    for place in range(1, header.count + 1):
        name_bytes, sealed_bytes = _FRAME.unpack_from(data, at)
        at += _FRAME.size
        name, sealed = data[at : at + name_bytes], data[at + name_bytes : at + name_bytes + sealed_bytes]
        records[name.decode()] = cipher.decrypt(_nonce(place), sealed, head + name)
        at += name_bytes + sealed_bytes
    if at != end or len(records) != header.count:
        raise IndexError
    return records


def _nonce(place: int) -> bytes:
    return place.to_bytes(12, "big")
