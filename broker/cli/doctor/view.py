"""What the doctor found, in words: both the table and the plain text are made of these. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.cli.output import printable

if TYPE_CHECKING:
    from broker.doctor import Finding, Report

_LABEL_WIDTH: Final = 8


def lines(report: Report) -> list[str]:
    """Write what is fine in one line, and what is not with why it matters and what mends it below."""
    width = max((len(area) for area, _ in report.findings), default=0)
    indent = " " * (_LABEL_WIDTH + width + 4)
    written = []
    for area, found in report.findings:
        written.append(f"{found.severity!s:<{_LABEL_WIDTH}}  {area:<{width}}  {printable(found.what)}{coded(found)}")
        written += [f"{indent}{label}: {printable(text)}" for label, text in reasons(found)]
    return written


def coded(found: Finding) -> str:
    """Give the code of what is wrong, for a search."""
    return f" ({found.code})" if found.severity else ""


def reasons(found: Finding) -> list[tuple[str, str]]:
    """Give why it matters and what mends it, as far as there is something to mend."""
    return [(label, text) for label, text in (("why", found.why), ("mend", found.mend)) if text]


def summary(report: Report) -> str:
    """Count what was found."""
    counts = report.counts
    words = [_count(counts[name], name) for name in ("error", "warning", "notice") if counts[name]]
    return f"{', '.join(words) or 'all is well'} ({report.seconds:.1f} s)"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
