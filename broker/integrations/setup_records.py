"""The records of what setups changed: written before the first change, so that it can be taken back after any crash.

They hold whole files of other programs, which may have secrets in them: 0600 in a folder of 0700, and never shown.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol, TypeVar

from broker.errors import ConfigError
from broker.integrations import textfile
from broker.paths import private_folder

SIZE_MAX: Final = 16 * textfile.SIZE_MAX
"""Bytes of a record, which holds two versions of two files, with escapes."""


class Record(Protocol):
    """A dataclass of plain values, which an older or newer broker may have written otherwise."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def version(self) -> int:
        """Of its form."""


R = TypeVar("R", bound=Record)


def path_for(state: Path, kind: str, *what: str) -> Path:
    """Name the record of this kind of setup in `what`."""
    key = "\0".join(what).encode("utf-8", "surrogateescape")
    return state / "setup" / f"{kind}-{hashlib.sha256(key).hexdigest()[:16]}.json"


def load(path: Path, form: type[R], version: int) -> R | None:
    """Read a record; None where there is none. Raises `ConfigError`, `FileProblem`."""
    import cattrs  # noqa: PLC0415  # only where something was set up before

    text = textfile.read(path, SIZE_MAX).text
    if text is None:
        return None
    try:
        record = cattrs.structure(json.loads(text), form)
    except (ValueError, RecursionError, cattrs.BaseValidationError, KeyError, TypeError):
        record = None
    if record is None or record.version != version:
        why = "it tells what the settings were before, so keep a copy of it, then remove it"
        raise ConfigError([f"{path}: no record of this version; {why}"])
    return record


def save(path: Path, record: Record) -> None:
    """Write a record, whole or not at all. Raises `FileProblem`, `UnsafePath`."""
    private_folder(path.parent.parent)
    private_folder(path.parent)
    textfile.replace(textfile.read(path, SIZE_MAX), json.dumps(asdict(record), indent=1) + "\n")
