"""`broker doctor`: what is wrong with the whole chain, and how to mend it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Final

import click

from broker.cli import output
from broker.cli.arguments import examples

if TYPE_CHECKING:
    from broker.doctor import Finding, Report

_LABEL_WIDTH: Final = 8


@click.command("doctor", epilog=examples("broker doctor", "broker doctor --json"))
@click.option("--json", "as_json", is_flag=True, help="Print every finding and a summary as JSON.")
def doctor_command(*, as_json: bool) -> int:
    """Find what is wrong and say how to mend it.

    Looks at the whole chain, from Claude Code to each source, as a Claude Code would that is started in the present folder with this shell's variables; what `--settings` on its command line says is not seen. Changes nothing, and prints no secret. Each credential is fetched once if the daemon does not hold it.

    \b
    Exits with
      0  all is well, or there is only advice
      1  something should be mended
      2  something does not work, or is not safe
    """  # noqa: D301  # \b is click's mark for "do not rewrap"
    from broker.doctor import examine  # noqa: PLC0415  # not for --help

    report = examine(os.environ, _folder())
    click.echo(json.dumps(report.as_json(), indent=2) if as_json else _drawn(report))
    return report.exit_code


def _folder() -> str:
    """Name the present folder as the kernel does; the root where it is gone."""
    try:
        return os.getcwd()  # noqa: PTH109  # Path.cwd() is the same, as an object
    except OSError:
        return "/"


def _drawn(report: Report) -> str:
    if output.on_terminal():
        from broker.cli import doctor_table, table  # noqa: PLC0415  # rich is for terminals

        console = table.stdout()
        return table.rendered(doctor_table.draw(report, summary(report), console), console)
    return "\n".join([*_lines(report), "", summary(report)])


def _lines(report: Report) -> list[str]:
    """Write what is fine in one line, and what is not with why it matters and what mends it below."""
    width = max((len(area) for area, _ in report.findings), default=0)
    indent = " " * (_LABEL_WIDTH + width + 4)
    lines = []
    for area, found in report.findings:
        lines.append(
            f"{found.severity!s:<{_LABEL_WIDTH}}  {area:<{width}}  {output.printable(found.what)}{coded(found)}"
        )
        lines += [f"{indent}{label}: {output.printable(text)}" for label, text in reasons(found)]
    return lines


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
