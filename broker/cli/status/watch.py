"""`broker status --watch`: a live table on a terminal, one line per change to a pipe.

The daemon's events say at once that something changed; a look every second lets the bars run and bridges a
daemon that is away.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import click
from rich.console import RenderableType
from rich.live import Live
from rich.text import Text

from broker.cli import terminal
from broker.cli.output import on_terminal, printable
from broker.cli.status import table, view
from broker.client import Client
from broker.errors import Unreachable

Document = dict[str, Any]
Narrow = Callable[[Document], Document]

INTERVAL_S: Final = 1.0


def follow(client: Client, narrow: Narrow, *, as_json: bool) -> None:
    """Show the status until Ctrl-C; `narrow` leaves only what was asked for.

    Raises what the first look raises; a daemon that goes away later is waited for.
    """
    first = narrow(client.status())
    changed = threading.Event()
    # A daemon thread: it sits in a read that only the end of the process ends.
    threading.Thread(target=_listen, args=(client, changed), daemon=True).start()
    show = _lines(as_json=as_json) if as_json or not on_terminal() else _live
    try:
        show(first, lambda: _next(client, narrow, changed))
    except KeyboardInterrupt:
        return


def _next(client: Client, narrow: Narrow, changed: threading.Event) -> Document | str:
    """Wait for a change or a second; return the status, or why there is none."""
    changed.wait(INTERVAL_S)
    changed.clear()
    try:
        return narrow(client.status())
    except Unreachable as error:
        return str(error)


def _listen(client: Client, changed: threading.Event) -> None:
    while True:
        try:
            for _ in client.events():
                changed.set()
        except Unreachable:
            pass
        time.sleep(INTERVAL_S)


def _live(first: Document, following: Callable[[], Document | str]) -> None:
    console = terminal.stdout()

    def drawn(document: Document | str) -> RenderableType:
        if isinstance(document, str):
            return Text(printable(document), "red")
        return table.low(document, console, time.time())

    with Live(drawn(first), console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:
        while True:
            live.update(drawn(following()), refresh=True)


def _lines(*, as_json: bool) -> Callable[[Document, Callable[[], Document | str]], None]:
    say = _json_line if as_json else _change_lines

    def show(first: Document, following: Callable[[], Document | str]) -> None:
        before: dict[str, str] = {}
        document: Document | str = first
        while True:
            now = {"": document} if isinstance(document, str) else _gist(document)
            if now != before:
                say(document, now, before)
                sys.stdout.flush()
            before, document = now, following()

    return show


def _json_line(document: Document | str, _now: Mapping[str, str], _before: Mapping[str, str]) -> None:
    if isinstance(document, str):
        click.echo(f"broker: {printable(document)}", err=True)
    else:
        click.echo(json.dumps(document))


def _change_lines(_document: Document | str, now: Mapping[str, str], before: Mapping[str, str]) -> None:
    moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    for name, words in now.items():
        if before.get(name) != words:
            click.echo(f"{moment}  {f'{name}  ' if name else ''}{words}")


def _gist(document: Document) -> dict[str, str]:
    """Write of each credential what matters and does not change by the second."""
    return {
        row.name: "  ".join([row.state, f"fingerprint {fingerprint}" if fingerprint else "no token", *row.notes])
        for row, fingerprint in zip(
            view.rows(document, 0.0), (item["fingerprint"] for item in document["credentials"]), strict=True
        )
    }
