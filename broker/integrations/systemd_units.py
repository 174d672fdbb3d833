"""The broker's systemd user units as files: what stands there, what would be written now, and whose it is.

A file that we write begins with a line that holds the digest of the rest: so one that a person edited is told from one
that an older version wrote, with no record kept elsewhere. A person's changes belong into a drop-in, which is left alone.
Contract: systemd.unit(5), systemd.service(5) "Command lines", systemd.syntax(7).
"""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from broker import paths
from broker.errors import UnsafePath
from broker.integrations import textfile
from broker.integrations.textfile import FileProblem

UNITS: Final = ("broker.socket", "broker.service")

_PACKAGED: Final = Path(__file__).with_name("units")
_CHECKOUT: Final = Path(__file__).parents[2] / "systemd"
_PROGRAM: Final = re.compile(r"^ExecStart=.*$", re.MULTILINE)
_NOT_STARTABLE: Final = re.compile(r"""["'\\\x00-\x1f\x7f]""")
_WRITTEN_BY: Final = "# Written by `broker setup systemd`"


class State(StrEnum):
    """How an installed unit compares with the one that would be written now."""

    MISSING = "missing"
    FINE = "fine"
    OLDER = "older"
    """Ours as it was written, by another version or for another place of the program."""
    EDITED = "edited"
    """Ours, and changed since."""
    FOREIGN = "foreign"
    """Not written by `broker setup systemd`; also a link."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit's file. `found` is None where there is none, or none that can be read as text."""

    path: Path
    wanted: str
    found: str | None
    state: State

    @property
    def is_a_persons(self) -> bool:
        """Whether replacing or removing it would lose what somebody else wrote."""
        return self.state in {State.EDITED, State.FOREIGN}

    def difference(self) -> str:
        """Show what writing it would change, as a unified diff."""
        before = (self.found or "").splitlines(keepends=True)
        after = self.wanted.splitlines(keepends=True)
        return "".join(difflib.unified_diff(before, after, str(self.path), f"{self.path} (as it would be written)"))

    def check(self) -> None:
        """Find out, before anything is changed, whether `write` can. Raises `FileProblem`."""
        if not self.is_a_persons:
            textfile.check_replaceable(textfile.read(self.path))

    def write(self) -> Path | None:
        """Put the file there, whole or not at all; what a person wrote is kept beside it, and its name returned.

        Raises `FileProblem`.
        """
        kept = None
        if self.is_a_persons:
            kept = self.path.with_name(f"{self.path.name}.bak")
            self.path.replace(kept)  # a link itself, not what it leads to
        textfile.replace(textfile.read(self.path), self.wanted)
        return kept

    def remove(self) -> None:
        """Remove the file, and the folders above that hold nothing else."""
        self.path.unlink(missing_ok=True)
        with suppress(OSError):  # not empty
            self.path.parent.rmdir()
            self.path.parent.parent.rmdir()


def folder(env: Mapping[str, str] = os.environ) -> Path:
    """Name the folder of a user's own units. Raises `ConfigError` where HOME is no place for it."""
    return paths.config_path({**env, "BROKER_CONFIG": ""}).parent.with_name("systemd") / "user"


def program() -> Path:
    """Name this installation's `broker`; raise `UnsafePath` where there is none, or systemd could not start it."""
    path = Path(sys.executable).with_name("broker")
    if not os.access(path, os.X_OK):
        raise UnsafePath(
            f"{path} is missing, so a service could not start it; install the package (pipx, uv tool, pip)"
        )
    _written(path)
    return path


def installed(where: Path, broker: Path) -> list[Unit]:
    """Compare the units in the folder `where` with those that start `broker`. Raises `FileProblem`, `UnsafePath`."""
    return [_compared(where / name, _signed(_text(name, broker))) for name in UNITS]


def _text(name: str, broker: Path) -> str:
    shipped = (_PACKAGED if _PACKAGED.is_dir() else _CHECKOUT) / name
    literally = ":" if "$" in str(broker) else ""  # only where needed: systemd before 244 does not know it
    line = f"ExecStart={literally}{_written(broker)} run"
    return _PROGRAM.sub(lambda _: line, shipped.read_text(encoding="utf-8"))


def _written(path: Path) -> str:
    """Write a path as systemd reads it: quoted for blanks, `%` doubled (`$` is left alone after `:`).

    A line feed in it would be a directive of its own; quotes and backslashes systemd itself takes in no program's name.
    """
    text = str(path)
    if _NOT_STARTABLE.search(text) or not text.isprintable():
        raise UnsafePath(
            f"{text!r}: systemd starts no program with such characters in its path; install the package elsewhere"
        )
    return '"' + text.replace("%", "%%") + '"'


def _signed(text: str) -> str:
    return f"{_mark(text)}\n{text}"


def _mark(text: str) -> str:
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"{_WRITTEN_BY}; changes belong into a drop-in: systemctl --user edit UNIT. sha256 of the rest: {digest}"


def _compared(path: Path, wanted: str) -> Unit:
    try:
        found = textfile.read(path).text
    except FileProblem:
        if not os.path.lexists(path):  # the folder is at fault
            raise
        return Unit(path, wanted, None, State.FOREIGN)
    if path.is_symlink():  # also systemd's mask, a link to /dev/null
        return Unit(path, wanted, found, State.FOREIGN)
    return Unit(path, wanted, found, State.MISSING if found is None else _state(found, wanted))


def _state(found: str, wanted: str) -> State:
    if found == wanted:
        return State.FINE
    mark, _, text = found.partition("\n")
    if mark == _mark(text):
        return State.OLDER
    return State.EDITED if mark.startswith(_WRITTEN_BY) else State.FOREIGN
