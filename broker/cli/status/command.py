"""`broker status`: how the daemon and every credential are."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from broker import paths
from broker.cli import output
from broker.cli.arguments import CREDENTIAL, examples
from broker.cli.status import check, plain
from broker.client import Client, document
from broker.errors import BadRequest, BrokerError, UnknownCredential, Unreachable


@click.command(
    "status",
    epilog=examples("broker status", "broker status work", "broker status --json", "broker status --check"),
)
@click.argument("name", required=False, type=CREDENTIAL)
@click.option("--json", "as_json", is_flag=True, help="Print the daemon's answer as it is.")
@click.option("--check", "checking", is_flag=True, help="One line and an exit code, as a monitoring plugin.")
@click.option("--watch", "watching", is_flag=True, help="Stay and follow what happens, until Ctrl-C.")
def status_command(name: str | None, *, as_json: bool, checking: bool, watching: bool) -> int:
    """Show the daemon and its credentials, or all about NAME.

    \b
    --check exits with
      0  everything is fresh, or not fetched yet
      1  something is stale or locked, or there is a warning
      2  a token is expired, a source is failing, or somebody must sign in
      3  no daemon answers
    """  # noqa: D301  # \b is click's mark for "do not rewrap"
    client = Client(paths.socket_path())
    if watching:
        return _watch(client, name, as_json=as_json, checking=checking)
    try:
        text = client.status_text()
        with _same_version():
            found = narrow(document(text), name)
            verdict = check.judge(found) if checking else check.Verdict(check.OK, _drawn(found, name, as_json=as_json))
    except BrokerError as error:
        return _unknown(error, as_json=as_json, checking=checking)
    if as_json:
        click.echo(text.decode() if name is None else json.dumps(found, indent=2))
    else:
        click.echo(verdict.line)
    return verdict.code


def narrow(answer: dict[str, Any], name: str | None) -> dict[str, Any]:
    """Leave only credential `name` in a status; raise `UnknownCredential` where there is none of that name."""
    if name is None:
        return answer
    found = [credential for credential in answer["credentials"] if credential["name"] == name]
    if not found:
        from difflib import get_close_matches  # noqa: PLC0415  # only for a typing error

        known = [credential["name"] for credential in answer["credentials"]]
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else "see: broker status"
        raise UnknownCredential(f"no credential is named {name} in {paths.config_path()}; {hint}")
    return {**answer, "credentials": found}


@contextmanager
def _same_version() -> Iterator[None]:
    """Say what it means when the daemon's answer lacks what this version looks for."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise Unreachable("the daemon's answer is not of this version; run: broker restart") from error


def _drawn(found: Mapping[str, Any], name: str | None, *, as_json: bool) -> str:
    if as_json:
        return ""
    if not output.on_terminal():
        return (
            plain.detail(found, time.time())
            if name is not None
            else plain.overview(found, time.time(), separator=output.separator())
        )
    from broker.cli import terminal  # noqa: PLC0415  # rich is for terminals
    from broker.cli.status import table  # noqa: PLC0415  # as above

    console = terminal.stdout()
    draw = table.overview if name is None else table.detail
    return terminal.rendered(draw(found, console, time.time()), console)


def _unknown(error: BrokerError, *, as_json: bool, checking: bool) -> int:
    if not checking:
        raise error
    verdict = check.unknown(str(error))
    click.echo(verdict.line, err=as_json)  # with --json, stdout carries JSON or nothing
    return verdict.code


def _watch(client: Client, name: str | None, *, as_json: bool, checking: bool) -> int:
    if checking:
        raise BadRequest("--check answers once and --watch never ends; choose one")
    from broker.cli.status import watch  # noqa: PLC0415  # nor are threads and rich's live display

    watch.follow(client, lambda answer: narrow(answer, name), as_json=as_json)
    return 0
