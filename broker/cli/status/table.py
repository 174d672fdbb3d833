"""The status for a terminal, drawn by rich: what daemon this is, a table of its credentials, what needs attention.

Colour, glyphs and bars, fitted to the width; `plain.py` writes the same for a pipe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from broker.cli.status import view
from broker.cli.terminal import NO_LIMIT

_DISPENSABLE: Final = ("REFRESHES", "SERVED", "SOURCE", "NEXT REFRESH")
"""The columns that a narrow terminal does without: the first goes first."""
_COUNTS: Final = ("SERVED", "REFRESHES")
_IDENTITY: Final = "IDENTITY"
_ALTERNATIVES: Final = (
    *(_DISPENSABLE[:count] for count in range(len(_COUNTS) + 1)),
    *((_IDENTITY, *_DISPENSABLE[:count]) for count in range(len(_DISPENSABLE) + 1)),
)
"""What to leave out, the fewest first. The identity counts for more than the counts; where it cannot be, they can."""
_WELL: Final = ("fresh", "empty")


def overview(document: Mapping[str, Any], console: Console, now: float) -> Group:
    """Draw the daemon and all of its credentials; `now` is the wall clock in epoch seconds."""
    rows = view.rows(document, now)
    table = _fitting(rows, console) if rows else Text(view.NO_CREDENTIALS)
    return Group(*_head(document, console), Text(), table, *_attention(document, rows))


def low(document: Mapping[str, Any], console: Console, now: float) -> RenderableType:
    """Draw the overview for a screen on which nothing scrolls: where it is too low, some of what is well is left out."""
    drawn = overview(document, console, now)
    surplus = len(console.render_lines(drawn, pad=False)) - console.height
    if surplus <= 0:
        return drawn
    well = [row.name for row in view.rows(document, now) if row.state in _WELL and not row.notes]
    left_out = set(well[1:][-surplus - 1 :])  # one more, for the line that says so
    kept = [credential for credential in document["credentials"] if credential["name"] not in left_out]
    return Group(overview({**document, "credentials": kept}, console, now), Text(_more(len(left_out)), "dim"))


def _more(count: int) -> str:
    return f"and {count} more that are well; see: broker status"


def detail(document: Mapping[str, Any], console: Console, now: float) -> Group:
    """Draw all that is known of the one credential in `document`."""
    (credential,) = document["credentials"]
    row = view.row(credential, now)
    title = Text.assemble((row.name, "bold"), "  ", _state(row, console))
    if row.share_left is not None:
        title.append(f"  {_bar(row.share_left, console)}", row.colour)
    facts = Table.grid(padding=(0, 2))
    for label, value in view.details(credential, now):
        facts.add_row(Text(f"  {label}", "dim"), Text(value, overflow="fold"))
    return Group(title, facts, *_attention(document, [row]))


def _head(document: Mapping[str, Any], console: Console) -> tuple[Text, Text]:
    separator = ", " if console.options.ascii_only else " · "
    first, *rest = view.header(document)
    line = Text.assemble((first, "bold"), (separator + separator.join(rest), "dim"))
    return line, Text(view.socket(document), "dim", overflow="fold")


def _fitting(rows: Sequence[view.Row], console: Console) -> Table:
    """Make the table with as many columns as fit; when even the indispensable do not, rich shortens these."""
    endless = console.options.update_width(NO_LIMIT)
    for without in _ALTERNATIVES:
        table = _table(rows, console, without)
        if console.measure(table, options=endless).maximum <= console.width:
            break
    return table


def _table(rows: Sequence[view.Row], console: Console, without: Sequence[str]) -> Table:
    lines = [_cells(row, console) for row in rows]
    nowhere = () if any(row.identity for row in rows) else (_IDENTITY,)
    titles = [title for title in lines[0] if title not in (*without, *nowhere)]
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in titles:
        table.add_column(title, justify="right" if title in _COUNTS else "left", no_wrap=True)
    for cells in lines:
        table.add_row(*(cells[title] for title in titles))
    return table


def _cells(row: view.Row, console: Console) -> dict[str, Text]:
    return {
        "CREDENTIAL": Text(row.name, "bold"),
        "SOURCE": Text(row.source, "dim"),
        _IDENTITY: Text(row.identity, "dim"),
        "STATE": _state(row, console),
        "LEFT": _left(row, console),
        "NEXT REFRESH": Text(row.next_refresh),
        "SERVED": Text(f"{row.served:,}"),
        "REFRESHES": Text(f"{row.refreshes:,}"),
    }


def _state(row: view.Row, console: Console) -> Text:
    if not console.options.ascii_only:
        return Text(f"{row.glyph} {row.state}" + " ↻" * row.refreshing, row.colour)
    return Text(row.state + " (refreshing)" * row.refreshing, row.colour)


def _left(row: view.Row, console: Console) -> Text:
    if row.share_left is None:
        return Text(row.left, "dim")
    return Text(f"{_bar(row.share_left, console)} {row.left}", row.colour)


def _bar(share: float, console: Console) -> str:
    if console.options.ascii_only:
        return f"[{('#' * ceil(min(1.0, share) * view.BAR_WIDTH)).ljust(view.BAR_WIDTH)}]"
    return f"▕{view.bar(share)}▏"


def _attention(document: Mapping[str, Any], rows: Sequence[view.Row]) -> list[RenderableType]:
    notes = view.attention(document, rows)
    table = Table.grid(padding=(0, 2))
    for whom, colour, note in notes:
        table.add_row(Text(whom, colour, no_wrap=True), Text(note, overflow="fold"))
    return [Text(), table] if notes else []
