"""`broker audit`: who was given what, when; and whether somebody changed that since."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import click

from broker import paths
from broker.cli import output
from broker.cli.arguments import examples
from broker.cli.audit import view
from broker.errors import BadRequest
from broker.storage.audit import Follower, files, last_lines

if TYPE_CHECKING:
    from broker.storage.audit import Verdict

_LINES: Final = 40


@click.command(
    "audit",
    epilog=examples("broker audit", "broker audit --follow", "broker audit -n 1000 --json", "broker audit --verify"),
)
@click.option("-n", "--lines", type=click.IntRange(0), help=f"Print so many lines, the last ones.  [default: {_LINES}]")
@click.option("--json", "as_json", is_flag=True, help="Print the lines as they stand in the file.")
@click.option("--follow", "following", is_flag=True, help="Stay and print what happens, until Ctrl-C.")
@click.option("--verify", "verifying", is_flag=True, help="Check the whole trail.")
def audit_command(lines: int | None, *, as_json: bool, following: bool, verifying: bool) -> int:
    """Show who was given what, when.

    A caller that is given the same token again is noted once an hour, with how often.

    \b
    --verify exits with
      0  every line that can be proven is, and none is missing
      1  lines were changed, moved or cut
    and says what nobody can prove.
    """  # noqa: D301  # \b is click's mark for "do not rewrap"
    if verifying:
        if following or lines is not None:
            raise BadRequest("--verify looks at the whole trail, once; leave out --follow and -n")
        return _verify(as_json=as_json)
    count = _LINES if lines is None else lines
    if following:
        _follow(count, as_json=as_json)
    else:
        _show(last_lines(paths.state_dir(), count), as_json=as_json)
    return 0


def _show(raw: list[bytes], *, as_json: bool) -> None:
    if as_json:
        _print_json(raw)
    elif raw:
        click.echo(_drawn([view.row(line) for line in raw]))
    else:
        click.echo(f"{files.current(paths.state_dir())}: nothing yet; a daemon writes it: broker start", err=True)


def _drawn(rows: list[view.Row]) -> str:
    if not output.on_terminal():
        return "\n".join(view.aligned(rows))
    from broker.cli import terminal  # noqa: PLC0415  # rich is for terminals
    from broker.cli.audit import table  # noqa: PLC0415  # as above

    return terminal.rendered(table.draw(rows), terminal.stdout())


def _follow(count: int, *, as_json: bool) -> None:
    folder = paths.state_dir()
    with closing(Follower(folder)) as follower:
        shown = last_lines(folder, count)
        try:
            _print(shown, as_json=as_json)
            for line in follower.lines():
                if line not in shown:  # written between the two looks
                    _print([line], as_json=as_json)
        except KeyboardInterrupt:
            return


def _print(raw: Iterable[bytes], *, as_json: bool) -> None:
    if as_json:
        _print_json(raw)
    else:
        for line in raw:
            click.echo(view.alone(view.row(line)))
    sys.stdout.flush()


def _print_json(raw: Iterable[bytes]) -> None:
    for line in raw:
        if view.facts(line) is None:
            click.echo("broker: left out what is no line of an audit trail; run: broker audit --verify", err=True)
        else:
            click.echo(line.decode("ascii", "replace"))


def _verify(*, as_json: bool) -> int:
    from broker.cli import hidden  # noqa: PLC0415
    from broker.client import Client  # noqa: PLC0415
    from broker.state_folder.access import State  # noqa: PLC0415
    from broker.state_folder.audit import Audited  # noqa: PLC0415  # it may have to open the store

    client = Client(paths.socket_path())
    state = State(client, paths.config_path(), lambda new: hidden.passphrase(new=new), output.warn)
    verdict = Audited(state).verify()
    if as_json:
        click.echo(json.dumps({"intact": verdict.intact, **asdict(verdict)}, indent=2))
    else:
        click.echo(_told(verdict))
    return 0 if verdict.intact else 1


def _told(verdict: Verdict) -> str:
    summary = "no sign that any was changed, moved or cut" if verdict.intact else "not as the daemon wrote them"
    lines = [f"{verdict.lines:,} lines, {verdict.proven:,} proven: {summary}"]
    lines += [f"  found: {finding}" for finding in verdict.findings]
    lines += ["What is not proven:"] if verdict.limits else []
    lines += [f"  {limit}" for limit in verdict.limits]
    return "\n".join(output.printable(line) for line in lines)
