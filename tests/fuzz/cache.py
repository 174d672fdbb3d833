"""Fuzz target: the bytes of `cache.bin`."""

from __future__ import annotations

import struct
from typing import Final

from broker.storage import header, keys, records
from broker.storage.header import Header, Unreadable
from tests.fuzz.target import one_line, pure

ROOT: Final = keys.RootKey(b"k" * 32)
SALT: Final = b"s" * header.SALT_BYTES
SECRETS: Final = {"secret/one": b"fake-secret-1", "token/work": b"fake-token-1", "token/\u00e9": b""}


def _file(generation: int, content: dict[str, bytes]) -> bytes:
    write_id = bytes([generation]) * header.WRITE_ID_BYTES
    blank = Header("keyring", SALT, b"", generation, 0, write_id)
    return records.encode(blank, ROOT, content)


CACHES: Final = (
    _file(1, {}),
    _file(2, SECRETS),
    _file(3, {"token/work": b"fake-token-2" * 100}),
    b"",
    b"\x89CCB\r\n\x1a\n",
    records.encode(Header("keyring", SALT, b"", 4, 0, b"w" * 32), keys.RootKey(b"other" * 7), SECRETS),
)
_GENUINE: Final = {_file(1, {}): {}, _file(2, SECRETS): SECRETS, CACHES[2]: {"token/work": b"fake-token-2" * 100}}


def check_cache(content: bytes) -> None:
    """A file is read as it was written, or not at all; also where somebody mended checksum and length after it."""
    for data in (content, header.finished(content[: -header.CHECKSUM_BYTES]), _mended(content)):
        try:
            _head, found = records.decode(data, ROOT)
        except Unreadable as error:
            one_line(str(error))
        else:
            assert found == _GENUINE[data]


def _mended(content: bytes) -> bytes:
    """Put the right length and checksum into a damaged file, so that what comes after these checks is reached."""
    length = struct.pack(">I", len(content))
    return header.finished(content[:10] + length + content[14 : -header.CHECKSUM_BYTES])


CACHE: Final = pure("cache", "cache.bin is read exactly as written, or named unreadable", CACHES, check_cache, 2000)
