"""Draws the status: coloured, with bars and glyphs, on a terminal; plain aligned text to a pipe."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import click

from broker.cli import output, view

_GAP: Final = "  "
_INDENT: Final = "    "
_MIN_WIDTH: Final = 40


@dataclass(frozen=True, slots=True)
class Look:
    """How to draw: `bars` and glyphs for people, `width` in columns (None: as wide as it comes)."""

    colour: bool = False
    bars: bool = False
    unicode: bool = True
    width: int | None = None

    @classmethod
    def of_stdout(cls) -> Look:
        """Choose by what stdout is and by NO_COLOR."""
        if not output.on_terminal():
            return cls(unicode=output.speaks_unicode())
        width = max(_MIN_WIDTH, shutil.get_terminal_size().columns)
        return cls(output.wants_colour(), bars=True, unicode=output.speaks_unicode(), width=width)

    def paint(self, text: str, colour: str | None = None, *, bold: bool = False, dim: bool = False) -> str:
        """Style a text, where colour is welcome."""
        return click.style(text, fg=colour, bold=bold or None, dim=dim or None) if self.colour else text


class Cell(NamedTuple):
    """A text and its style: padded by the text's own width, then painted."""

    text: str
    colour: str | None = None
    bold: bool = False
    dim: bool = False


class Column(NamedTuple):
    """A column of the table; on a narrow terminal those with the highest `dispensable` go first."""

    title: str
    cells: Sequence[Cell]
    dispensable: int = 0
    right: bool = False

    @property
    def width(self) -> int:
        """The widest text in it."""
        return max(len(self.title), *(len(cell.text) for cell in self.cells))


def draw(document: Mapping[str, Any], look: Look, now: float) -> str:
    """Draw the daemon's line and a table of its credentials; `now` is the wall clock in epoch seconds."""
    rows = view.rows(document, now)
    lines = _head(document, look)
    if not rows:
        return "\n".join([*lines, "", "no credentials in the config; see: broker config show"])
    columns = _fit(_columns(rows, look), look.width)
    lines += ["", look.paint(_line(columns, [Cell(column.title) for column in columns], Look()), dim=True)]
    for position, row in enumerate(rows):
        lines.append(_line(columns, [column.cells[position] for column in columns], look))
        lines += _notes(row.notes, row.colour, look)
    return "\n".join(lines)


def draw_one(document: Mapping[str, Any], credential: Mapping[str, Any], look: Look, now: float) -> str:
    """Draw all that is known of one credential."""
    row = view.row(credential, now)
    facts = view.details(credential, now)
    width = max(len(label) for label, _ in facts)
    title = [look.paint(row.name, bold=True), _paint(_state(row, look), look)]
    if look.bars and row.share_left is not None:
        title.append(_paint(_bar(row, look), look))
    body = [f"{_GAP}{look.paint(label.ljust(width), dim=True)}{_GAP}{value}" for label, value in facts]
    notes = _notes(row.notes, row.colour, look)
    return "\n".join([_GAP.join(title), *notes, *body, *_notes(view.warnings(document["daemon"]), "yellow", look)])


def _head(document: Mapping[str, Any], look: Look) -> list[str]:
    separator = " · " if look.unicode else ", "
    first, *rest = view.header(document)
    lines = [look.paint(first, bold=True) + look.paint(separator + separator.join(rest), dim=True)]
    lines.append(look.paint(view.socket(document), dim=True))
    return lines + _notes(view.warnings(document["daemon"]), "yellow", look)


def _columns(rows: Sequence[view.Row], look: Look) -> list[Column]:
    columns = [
        Column("CREDENTIAL", [Cell(row.name, bold=True) for row in rows]),
        Column("SOURCE", [Cell(row.source, dim=True) for row in rows], dispensable=2),
        Column("STATE", [_state(row, look) for row in rows]),
        Column("LEFT", [_left(row, look) for row in rows]),
        Column("NEXT REFRESH", [Cell(row.next_refresh) for row in rows], dispensable=1),
        Column("SERVED", [Cell(f"{row.served:,}") for row in rows], dispensable=3, right=True),
        Column("REFRESHES", [Cell(f"{row.refreshes:,}") for row in rows], dispensable=4, right=True),
    ]
    return [column for column in columns if any(cell.text for cell in column.cells)]


def _fit(columns: list[Column], width: int | None) -> list[Column]:
    while width is not None and sum(column.width + len(_GAP) for column in columns) - len(_GAP) > width:
        least = max(columns, key=lambda column: column.dispensable)
        if not least.dispensable:
            break
        columns = [column for column in columns if column is not least]
    return columns


def _line(columns: Iterable[Column], cells: Iterable[Cell], look: Look) -> str:
    pieces = []
    for column, cell in zip(columns, cells, strict=True):
        padding = " " * (column.width - len(cell.text))
        painted = _paint(cell, look)
        pieces.append(padding + painted if column.right else painted + padding)
    return _GAP.join(pieces).rstrip()


def _paint(cell: Cell, look: Look) -> str:
    return look.paint(cell.text, cell.colour, bold=cell.bold, dim=cell.dim) if cell.text else ""


def _state(row: view.Row, look: Look) -> Cell:
    glyph = f"{row.glyph} " if look.bars and look.unicode else ""
    refreshing = (" ↻" if look.bars and look.unicode else " (refreshing)") if row.refreshing else ""
    return Cell(f"{glyph}{row.state}{refreshing}", row.colour)


def _left(row: view.Row, look: Look) -> Cell:
    if not look.bars or row.share_left is None:
        return Cell(row.left, dim=row.share_left is None)
    return Cell(f"{_bar(row, look).text} {row.left}", row.colour)


def _bar(row: view.Row, look: Look) -> Cell:
    share = row.share_left or 0.0
    if look.unicode:
        return Cell(f"▕{view.bar(share)}▏", row.colour)
    return Cell(f"[{('#' * round(min(1.0, max(0.0, share)) * view.BAR_WIDTH)).ljust(view.BAR_WIDTH)}]", row.colour)


def _notes(notes: Iterable[str], colour: str, look: Look) -> list[str]:
    mark = "╰ " if look.unicode else "! "
    lines = []
    for note in notes:
        wrapped = textwrap.wrap(note, (look.width or 10_000) - len(_INDENT)) or [""]
        lines += [look.paint(_GAP + (mark if first else "  ") + part, colour) for first, part in _first(wrapped)]
    return lines


def _first(parts: Iterable[str]) -> Iterable[tuple[bool, str]]:
    return ((position == 0, part) for position, part in enumerate(parts))
