"""The audit trail for a terminal, drawn by rich."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from broker.cli.audit.view import TITLES, Row

_FOLDED = ("WHO", "NOTE")


def draw(rows: Sequence[Row]) -> Table:
    """Draw rows below their titles; long notes are folded, the rest stands in one line."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in TITLES:
        table.add_column(title, no_wrap=title not in _FOLDED, overflow="fold")
    for row in rows:
        time, event, *rest = row.cells
        table.add_row(Text(time, "dim"), Text(event, row.colour), *(Text(cell) for cell in rest))
    return table
