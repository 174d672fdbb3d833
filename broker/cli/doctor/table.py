"""What the doctor found, drawn by rich: a line for what is fine, three for what is not."""

from __future__ import annotations

from typing import Final

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from broker.cli.doctor.view import coded, reasons, summary
from broker.cli.output import printable
from broker.doctor import Finding, Report, Severity

_MARKS: Final = {
    Severity.OK: ("✓", "green"),
    Severity.NOTICE: ("i", "cyan"),
    Severity.WARNING: ("▲", "yellow"),
    Severity.ERROR: ("✗", "red"),
}


def draw(report: Report, console: Console) -> RenderableType:
    """Draw the whole report, with the summary below."""
    table = Table.grid(padding=(0, 2))
    for column in ("mark", "area"):
        table.add_column(column, no_wrap=True)
    for area, found in report.findings:
        mark, colour = _MARKS[found.severity]
        word = str(found.severity) if console.options.ascii_only else mark
        table.add_row(Text(word, colour), Text(area, "dim"), _text(found))
    return Group(table, Text(), Text(summary(report), "bold"))


def _text(found: Finding) -> Text:
    text = Text(printable(found.what), overflow="fold")
    text.append(coded(found), "dim")
    for label, words in reasons(found):
        text.append(f"\n{label}: ", "dim")
        text.append(printable(words), "bold" if label == "mend" else "")
    return text
