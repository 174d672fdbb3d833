"""Lines of the audit trail as plain values: both the table and the plain text are drawn from these. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from broker.cli.output import printable, span

TITLES: Final = ("TIME", "EVENT", "CREDENTIAL", "FINGERPRINT", "LEFT", "WHO", "NOTE")
_WIDTHS: Final = (20, 9, 12, 12, 6, 32, 0)
"""Of lines that come one by one, when nobody knows what the next ones need."""

_NOTHING: Final = "-"
COLOURS: Final = {
    "failed": "yellow",
    "rejected": "yellow",
    "refused": "red",
    "reload-refused": "red",
    "lost": "red",
    "?": "red",
    "opened": "bright_black",
    "stopped": "bright_black",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line, ready to be shown: a cell for each of `TITLES`."""

    cells: tuple[str, ...]

    @property
    def colour(self) -> str:
        """The event's colour; empty for what is in order."""
        return COLOURS.get(self.cells[1], "")


def row(raw: bytes) -> Row:
    """Read a line as it stands in the file, whoever wrote it there."""
    said = facts(raw)
    if said is None:
        return Row(("", "?", "", "", "", "", "no line of an audit trail; run: broker audit --verify"))
    names = ("event", "credential", "fingerprint")
    cells = (_moment(said), *(_text(said, name) for name in names), _left(said), _who(said), _note(said))
    return Row(tuple(map(printable, cells)))


def facts(raw: bytes) -> dict[str, Any] | None:
    """Return what a line says; None where it is none."""
    try:
        said = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def aligned(rows: Sequence[Row]) -> list[str]:
    """Write rows below their titles, as wide as they come; `-` for nothing."""
    lines = [TITLES, *(tuple(cell or _NOTHING for cell in row.cells) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [_joined(line, widths) for line in lines]


def alone(row: Row) -> str:
    """Write one row without knowing the others."""
    return _joined([cell or _NOTHING for cell in row.cells], _WIDTHS)


def _joined(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _moment(said: Mapping[str, Any]) -> str:
    """Leave out the milliseconds."""
    moment, dot, _ = _text(said, "at").partition(".")
    return moment + "Z" * bool(dot)


def _left(said: Mapping[str, Any]) -> str:
    left = said.get("expires_in_s")
    return span(left) if isinstance(left, int) else ""


def _who(said: Mapping[str, Any]) -> str:
    pid, session = said.get("pid"), said.get("session")
    if "role" not in said:
        return ""
    program = f"{_text(said, 'program') or '?'}[{pid}]" if pid else "unknown (another pid namespace)"
    match said.get("role"):
        case "helper":
            return f"{program} for session {session}"
        case "child":
            return f"{program} below session {session}"
    return program


def _note(said: Mapping[str, Any]) -> str:
    times, torn = said.get("times"), said.get("torn")
    parts = [
        _text(said, "reason"),
        f"of {_text(said, 'member')}" if said.get("member") else "",
        f"as {_text(said, 'identity')}" if said.get("identity") else "",
        f"{times} times" if times else "",
        f"{torn} bytes of a torn line removed" if torn else "",
    ]
    return "; ".join(part for part in parts if part)


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    return "" if value is None else str(value)
