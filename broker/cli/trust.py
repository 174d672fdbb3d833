"""`broker allow` and `deny`: a person decides about a project's Claude Code settings."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from broker import paths
from broker.cli.arguments import examples
from broker.cli.output import printable
from broker.errors import BadRequest, ConfigError, Refused

if TYPE_CHECKING:
    from broker.integrations.project import Candidate

_LINES_MAX: Final = 200

_PATH = click.argument("path", required=False, default=".", type=click.Path(path_type=Path))
_JSON = click.option("--json", "as_json", is_flag=True, help="Print what was found and done as JSON.")


@click.command("allow", epilog=examples("broker allow", "broker allow ~/src/project --yes"))
@_PATH
@click.option("--yes", is_flag=True, help="Do not ask.")
@_JSON
def allow_command(path: Path, *, yes: bool, as_json: bool) -> None:
    """Allow a project's Claude Code settings as they are now.

    Shows them first; PATH is the present folder if not given. The settings may then say what they say now: a file that changes is asked about again. Where requests may go in the end is not decided here, but by the credential's audience in the config.
    """
    from broker.integrations.project import folder_of  # noqa: PLC0415  # not for --help
    from broker.storage import pins  # noqa: PLC0415

    state = paths.state_dir()
    pins.read(state)  # first of all: to a broken file nothing can be added
    folder = folder_of(path)
    found = _candidates(folder, state)
    new = {one.pin for one in found if not one.allowed and one.pin is not None}
    if not as_json:
        _show(folder, found)
    if new and not (yes or _agreed(folder, as_json=as_json)):
        raise click.Abort
    if new:
        pins.change(state, add=new)
    left = _left(folder, state)
    if as_json:
        after = _candidates(folder, state)
        click.echo(json.dumps({"folder": folder, "files": [*map(_described, after)], "refused": left}, indent=2))
        return
    if new:
        click.echo(f"Allowed until a file changes; to take it back: broker deny {_quoted(folder)}")
    if left:
        click.echo(f"Still refused: {printable(left)}")


@click.command("deny", epilog=examples("broker deny", "broker deny ~/src/project"))
@_PATH
@_JSON
def deny_command(path: Path, *, as_json: bool) -> None:
    """Take back what was allowed.

    In PATH, the present folder if not given, and in the folders below it.
    """
    from broker.storage import pins  # noqa: PLC0415  # not for --help

    state = paths.state_dir()
    folder = os.path.realpath(path)  # it may be gone: what was allowed there is still to be taken back
    before = pins.read(state)
    after = pins.change(state, remove=lambda pin: pins.is_below(pin, folder))
    gone = sorted(name for name, _ in before - after)
    if as_json:
        click.echo(json.dumps({"folder": folder, "denied": gone}, indent=2))
        return
    for name in gone:
        click.echo(f"{printable(name)}: not allowed any more")
    if not gone:
        click.echo(f"Nothing was allowed in {printable(folder)}.")


def _show(folder: str, found: Sequence[Candidate]) -> None:
    """Show what a person decides about: what is refused, in the files as they are."""
    if not found:
        click.echo(f"No Claude Code settings of a project in {printable(folder)}: nothing to allow.")
    for one in found:
        click.echo(f"{printable(one.file.path)}: {_verdict(one)}")
        if one.refused and not one.allowed:
            for line in _content(one.file.path):
                click.echo(f"  {line}")
        for refused in one.refused:
            click.echo(f"  ! {printable(refused.key or refused.reason)}")


def _verdict(one: Candidate) -> str:
    if one.refused:
        return "allowed" if one.allowed else "refused"
    return "harmless"


def _content(path: str) -> list[str]:
    """Return the lines of a file that was read safely a moment ago, fit for a terminal."""
    from broker.integrations.claude_settings import text_of  # noqa: PLC0415  # not for --help

    lines = [printable(line) for line in text_of(path).splitlines()]
    more = len(lines) - _LINES_MAX
    return lines if more <= 0 else [*lines[:_LINES_MAX], f"... and {more} lines more"]


def _agreed(folder: str, *, as_json: bool) -> bool:
    if as_json or not sys.stdin.isatty():
        raise BadRequest(
            f"{printable(folder)}: nobody can be asked here; read the files, then: broker allow {_quoted(folder)} --yes"
        )
    return click.confirm("Allow these files as they are now?")


def _quoted(folder: str) -> str:
    return shlex.quote(printable(folder))


def _described(one: Candidate) -> dict[str, Any]:
    refused = [{"key": refused.key, "reason": refused.reason} for refused in one.refused]
    return {"path": one.file.path, "sha256": one.file.sha256 or None, "verdict": _verdict(one), "refused": refused}


def _candidates(folder: str, state: Path) -> list[Candidate]:
    from broker.integrations import project  # noqa: PLC0415  # not for --help
    from broker.storage import pins  # noqa: PLC0415

    return project.candidates(folder, str(state / pins.NAME), _everything(_audiences()))


def _left(folder: str, state: Path) -> str | None:
    """Say what the guard would still refuse of a Claude Code started here from this shell; None for nothing.

    One of the config's credentials may go where it would send them: that is enough.
    """
    from broker.engine.destination import Allowed  # noqa: PLC0415
    from broker.integrations import project  # noqa: PLC0415  # not for --help
    from broker.model import Kind  # noqa: PLC0415
    from broker.storage import pins  # noqa: PLC0415

    try:
        verdict = project.preview(folder, os.environ, _everything(_audiences()), Kind.API_KEY, str(state / pins.NAME))
    except Refused as refused:
        return str(refused)
    return None if isinstance(verdict, Allowed) else verdict.reason


def _everything(audiences: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(base for bases in audiences for base in bases))


def _audiences() -> list[tuple[str, ...]]:
    """Return every credential's audience; without a config that can be read, the provider's own endpoints."""
    from broker import audience  # noqa: PLC0415  # not for --help
    from broker.config import read  # noqa: PLC0415
    from broker.model import Kind  # noqa: PLC0415
    from broker.sources import TYPES  # noqa: PLC0415

    own = audience.default(Kind.API_KEY)
    try:
        config = read(paths.config_path(), TYPES)
    except ConfigError:
        return [own]
    return [credential.audience or own for credential in config.credentials.values()]
