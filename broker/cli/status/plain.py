"""The status for a pipe: the words of the table alone, aligned, as wide as they come.

Without rich: its import would be a quarter of the command's time, for nothing that a program reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from broker.cli.status import view

_TITLES: Final = ("CREDENTIAL", "SOURCE", "STATE", "LEFT", "NEXT REFRESH", "SERVED", "REFRESHES")
_RIGHT: Final = frozenset({5, 6})
"""The columns of counts, which end where their titles end."""


def overview(document: Mapping[str, Any], now: float, *, separator: str) -> str:
    """Write the daemon and all of its credentials; `now` is the wall clock in epoch seconds."""
    rows = view.rows(document, now)
    table = _aligned([_TITLES, *(_cells(row) for row in rows)], _RIGHT) if rows else [view.NO_CREDENTIALS]
    head = [separator.join(view.header(document)), view.socket(document), ""]
    return "\n".join([*head, *table, *_attention(document, rows)])


def detail(document: Mapping[str, Any], now: float) -> str:
    """Write all that is known of the one credential in `document`."""
    (credential,) = document["credentials"]
    row = view.row(credential, now)
    facts = _aligned([(f"  {label}", value) for label, value in view.details(credential, now)])
    return "\n".join([f"{row.name}  {_state(row)}", *facts, *_attention(document, [row])])


def _cells(row: view.Row) -> tuple[str, ...]:
    counts = (f"{row.served:,}", f"{row.refreshes:,}")
    return (row.name, row.source, _state(row), row.left, row.next_refresh, *counts)


def _state(row: view.Row) -> str:
    return row.state + " (refreshing)" * row.refreshing


def _attention(document: Mapping[str, Any], rows: Sequence[view.Row]) -> list[str]:
    notes = view.attention(document, rows)
    return ["", *_aligned([(whom, note) for whom, _colour, note in notes])] if notes else []


def _aligned(lines: Sequence[Sequence[str]], right: frozenset[int] = frozenset()) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if position in right else cell.ljust(width)
            for position, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
