"""`broker import proxycast`, `dotenv`, `aws`: carry over what another tool keeps in plain text."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from broker import background, paths
from broker.cli import hidden
from broker.cli.arguments import examples
from broker.cli.output import printable, warn
from broker.client import Client
from broker.errors import BadRequest, BrokerError, ConfigError, Locked
from broker.integrations import textfile
from broker.secret import Secret
from broker.state_folder.access import State
from broker.state_folder.secrets import Stored

if TYPE_CHECKING:
    from broker.integrations.importing.found import Reading
    from broker.integrations.importing.plan import Plan

Command = Callable[..., Any]

_BYTE_ORDER_MARK: Final = "\ufeff"
"""What some editors begin a file with; it would be taken for a part of the first name."""

_FILE: Final = click.argument("file", type=click.Path(path_type=Path))


@click.group("import", epilog=examples("broker import proxycast providers.yaml --dry-run", "broker import dotenv .env"))
def import_command() -> None:
    """Carry over what another tool keeps in plain text.

    Secrets go into the broker's encrypted store, and never into its config, which only says where they are.
    """


def _options(command: Command) -> Command:
    for option in (
        click.option("--yes", is_flag=True, help="Do not ask first."),
        click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing."),
        click.option("--force", is_flag=True, help="Replace credentials and secrets that are there under these names."),
        click.option("--pool", metavar="NAME", help="Also make a pool of all API keys, under this name."),
    ):
        command = option(command)
    return _FILE(command)


@import_command.command(
    "proxycast",
    epilog=examples(
        "broker import proxycast providers.yaml --dry-run", "broker import proxycast providers.yaml --pool keys"
    ),
)
@_options
def proxycast(**asked: Any) -> int:  # noqa: ANN401  # see `_import`
    """Carry over the providers of a ProxyCast FILE (YAML)."""
    return _import("proxycast", **asked)


@import_command.command("dotenv", epilog=examples("broker import dotenv .env --dry-run", "broker import dotenv .env"))
@_options
def dotenv(**asked: Any) -> int:  # noqa: ANN401  # see `_import`
    """Carry over the keys of a .env FILE.

    That is what Claude Code and the clouds' programs would read of it.
    """
    return _import("dotenv", **asked)


@import_command.command("aws", epilog=examples("broker import aws ~/.aws/credentials --dry-run"))
@_options
def aws(**asked: Any) -> int:  # noqa: ANN401  # see `_import`
    """Carry over the profiles of an AWS credentials FILE.

    Those that have keys; the FILE may be AWS's config, too.
    """
    return _import("aws", **asked)


def _import(tool: str, *, file: Path, yes: bool, dry_run: bool, force: bool, pool: str | None) -> int:
    from broker.integrations import importing  # noqa: PLC0415  # not for --help

    found = textfile.read(file)
    if found.text is None:
        raise ConfigError([f"{file}: there is no such file"])
    reading = importing.READERS[tool](found.text.removeprefix(_BYTE_ORDER_MARK), file)
    passphrase = _remembered()
    state = State(Client(paths.socket_path()), paths.config_path(), passphrase, warn, lambda: hidden.choose(passphrase))
    stored = Stored(state)
    plan = _plan(reading, stored, force=force, pool=pool, dry_run=dry_run)
    _show(plan)
    if plan.changes_nothing or dry_run:
        click.echo("nothing was changed" + " (--dry-run)" * dry_run)
        return 0 if dry_run else 1
    if not _agreed(plan, yes=yes):
        click.echo("nothing was changed")
        return 1
    _apply(plan, stored)
    _after(plan, file)
    return 0


def _plan(reading: Reading, stored: Stored, *, force: bool, pool: str | None, dry_run: bool) -> Plan:
    from broker.integrations.importing import plan  # noqa: PLC0415  # not for --help
    from broker.sources import TYPES  # noqa: PLC0415  # as above

    names: list[str] = []
    if dry_run:
        with suppress(BrokerError):  # nobody is asked for a passphrase only to be shown something
            names = stored.state.client.secrets()
    else:
        names = stored.names()
    return plan.make(reading, paths.config_path(), TYPES, names, force=force, pool=pool)


def _show(plan: Plan) -> None:
    from broker.config import edit  # noqa: PLC0415  # not for --help

    for line in plan.says:
        click.echo(printable(line))
    for remark in plan.remarks:
        click.echo(printable(f"not carried over: {remark}"))
    if not plan.changes_nothing:
        click.echo(f"{plan.file.path}:")
        for line in edit.lines_of(plan.tables):
            click.echo(printable(f"  + {line}".rstrip()))


def _agreed(plan: Plan, *, yes: bool) -> bool:
    if yes:
        return True
    what = f"{_secrets(plan)} will be stored, and {plan.file.path} gets the lines above"
    if not sys.stdin.isatty():
        raise BadRequest(f"{what}; to go on: --yes")
    return click.confirm(f"{what}. Go on?", err=True)


def _apply(plan: Plan, stored: Stored) -> None:
    """Store first: a config that names what is not there would have the daemon hand out nothing."""
    textfile.check_unchanged(plan.file)
    stored.put_all(plan.secrets, plan.stored)
    try:
        textfile.replace(plan.file, plan.after)
    except BrokerError:
        for name in (name for name in plan.secrets if name not in plan.stored):
            with suppress(BrokerError):
                stored.delete(name)
        warn("nothing is imported; what was stored for it is taken back")
        raise
    click.echo(f"stored {_secrets(plan)}; {plan.file.path} is written")
    try:
        background.reload(stored.state.client)
    except BrokerError as error:
        warn(f"the running daemon keeps the old config: {error}")


def _secrets(plan: Plan) -> str:
    return f"{len(plan.secrets)} secret{'s' * (len(plan.secrets) != 1)}"


def _after(plan: Plan, file: Path) -> None:
    for note in plan.notes:
        click.echo(printable(f"next: {note}"))
    quoted = shlex.quote(str(file))
    click.echo(
        f"{file} still has the keys in plain text, and so may backups and git; when all works, yourself: shred -u {quoted}"
    )
    click.echo("keys that others may have read are best replaced where they come from")


def _remembered() -> Callable[[bool], Secret]:
    """Give what asks for the store's passphrase once, however often the store is opened."""
    typed: list[Secret] = []

    def passphrase(new: bool) -> Secret:  # noqa: FBT001  # what `State` gives
        if not typed:
            if not sys.stdin.isatty():
                raise Locked("the passphrase is needed, and there is no terminal to ask on; run first: broker unlock")
            typed.append(hidden.passphrase(new=new))
        return typed[0]

    return passphrase
