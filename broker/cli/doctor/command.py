"""`broker doctor`: what is wrong with the whole chain, and how to mend it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import click

from broker.cli import output
from broker.cli.arguments import examples
from broker.cli.doctor import view

if TYPE_CHECKING:
    from broker.doctor import Report


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
        from broker.cli import terminal  # noqa: PLC0415  # rich is for terminals
        from broker.cli.doctor import table  # noqa: PLC0415  # as above

        console = terminal.stdout()
        return terminal.rendered(table.draw(report, console), console)
    return "\n".join([*view.lines(report), "", view.summary(report)])
