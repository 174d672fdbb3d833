"""What `cache.bin` says of itself before any key is needed, and what is wrong with a file that cannot be read.

    header | seal | record ... | SHA-256 of all before it

Magic, version and length at the start and the checksum at the end stand there in every version, so that damage is
told from a file of a later version, and from one that another key wrote. The checksum finds accidents; against
people there is the seal (`records`).
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from broker.errors import StorageError

VERSION: Final = 1
FILE_MAX: Final = 64 << 20
RECORDS_MAX: Final = 65_536
NAME_MAX: Final = 512
"""Bytes of a record's name."""

VALUE_MAX: Final = 128 * 1024
"""Bytes of a record's value; a token has at most an eighth of that."""

SALT_BYTES: Final = 16
KEY_ID_BYTES: Final = 16
WRITE_ID_BYTES: Final = 32
CHECKSUM_BYTES: Final = hashlib.sha256().digest_size

_MAGIC: Final = b"\x89CCB\r\n\x1a\n"  # as PNG's: no text, and broken by whatever mangles line ends
_START: Final = struct.Struct(">8sHI")
_REST: Final = struct.Struct(f">BBBB{SALT_BYTES}s{KEY_ID_BYTES}sQI{WRITE_ID_BYTES}s")
SIZE: Final = _START.size + _REST.size

_HOMES: Final = {"keyring": 1, "systemd": 2, "passphrase": 3}
_NAMES: Final = {number: name for name, number in _HOMES.items()}


class Reason(StrEnum):
    """Why a file is set aside."""

    CORRUPT = "corrupt"
    TRUNCATED = "truncated"
    FOREIGN = "foreign"
    FUTURE = "future"
    OLDER = "older"
    UNSAFE = "unsafe"


class Unreadable(StorageError):
    """This file cannot be used; `reason` says why in a word."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Cost:
    """scrypt's parameters (RFC 7914): N = 2 ** `log_n`, `r`, `p`; it takes 128 * N * r bytes of memory."""

    log_n: int = 17
    r: int = 8
    p: int = 1

    def is_sane(self) -> bool:
        """Whether it protects anything, and is no attempt to make us take all of the machine's memory or day."""
        return 14 <= self.log_n <= 20 and self.r == 8 and 1 <= self.p <= 4  # noqa: PLR2004  # the bounds are the meaning


@dataclass(frozen=True, slots=True)
class Header:
    """One write of one store.

    `home`: where the key lives. `salt` names the store through all its writes, `write_id` this one write, and
    `generation` counts them. `key_id` tells another key from damage. `cost` is None but for a passphrase.
    """

    home: str
    salt: bytes
    key_id: bytes
    generation: int
    count: int
    write_id: bytes
    cost: Cost | None = None

    def pack(self, length: int) -> bytes:
        """Write the header of a file of `length` bytes, checksum included."""
        cost = (self.cost.log_n, self.cost.r, self.cost.p) if self.cost is not None else (0, 0, 0)
        rest = (self.salt, self.key_id, self.generation, self.count, self.write_id)
        return _START.pack(_MAGIC, VERSION, length) + _REST.pack(_HOMES[self.home], *cost, *rest)


def parse(data: bytes) -> Header:
    """Read the header of a whole file. Raises `Unreadable`."""
    _check_whole(data)
    number, log_n, r, p, salt, key_id, generation, count, write_id = _REST.unpack_from(data, _START.size)
    cost = Cost(log_n, r, p) if (log_n, r, p) != (0, 0, 0) else None
    home = _NAMES.get(number)
    if home is None or count > RECORDS_MAX or (cost is None) != (home != "passphrase"):
        raise Unreadable(Reason.CORRUPT, "its header makes no sense")
    if cost is not None and not cost.is_sane():
        raise Unreadable(Reason.CORRUPT, "its header asks for an unreasonable key derivation")
    return Header(home, salt, key_id, generation, count, write_id, cost)


def finished(content: bytes) -> bytes:
    """Append the checksum."""
    return content + hashlib.sha256(content).digest()


def _check_whole(data: bytes) -> None:
    if not data.startswith(_MAGIC[: len(data)]):
        raise Unreadable(Reason.CORRUPT, "it is no file of the broker's")
    if len(data) < _START.size:
        raise Unreadable(Reason.TRUNCATED, f"it ends after {len(data)} bytes")
    _magic, version, length = _START.unpack_from(data)
    if len(data) < length:
        raise Unreadable(Reason.TRUNCATED, f"it ends after {len(data)} of {length} bytes")
    if len(data) > length or hashlib.sha256(data[:-CHECKSUM_BYTES]).digest() != data[-CHECKSUM_BYTES:]:
        raise Unreadable(Reason.CORRUPT, "its checksum does not fit: the disk or a program damaged it")
    if version > VERSION:
        raise Unreadable(Reason.FUTURE, f"it is of format {version}, and this version of the broker knows {VERSION}")
    if version != VERSION or length < SIZE + CHECKSUM_BYTES:
        raise Unreadable(Reason.CORRUPT, "its header makes no sense")
