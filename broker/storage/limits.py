"""What a record may be, checked before it is stored."""

from __future__ import annotations

from collections.abc import Mapping

from broker.errors import StorageError
from broker.secret import Secret
from broker.storage.header import NAME_MAX, RECORDS_MAX, VALUE_MAX


def check(name: str, value: Secret) -> None:
    """Raise `StorageError` where this cannot be a record."""
    try:
        name_bytes, value_bytes = len(name.encode()), len(value.reveal().encode())
    except UnicodeEncodeError:
        raise StorageError("this cannot be stored: it is no text") from None
    if not 0 < name_bytes <= NAME_MAX:
        raise StorageError(f"a stored secret's name has 1 to {NAME_MAX} bytes; this one has {name_bytes}")
    if value_bytes > VALUE_MAX:
        raise StorageError(f"a stored secret has at most {VALUE_MAX} bytes; this one has {value_bytes}")


def check_room(name: str, records: Mapping[str, Secret]) -> None:
    """Raise `StorageError` where one more record is too many."""
    if name not in records and len(records) >= RECORDS_MAX:
        raise StorageError(f"{RECORDS_MAX} records are stored, and more there cannot be; delete some")
