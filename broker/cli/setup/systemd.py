"""`broker setup systemd`."""

from __future__ import annotations

from collections.abc import Iterable

import click

from broker import paths
from broker.background import installing
from broker.cli.arguments import examples
from broker.client import Client
from broker.errors import ConfigError
from broker.integrations import systemd

_LINGER = (
    "note: lingering is off, so the daemon ends when you sign out (tmux, cron); to change that: loginctl enable-linger"
)
_NO_CONFIG = "note: the config is not ready, so the first ask will fail; see: broker config check"


@click.command("systemd", epilog=examples("broker setup systemd", "broker setup systemd --undo"))
@click.option("--undo", is_flag=True, help="Stop and disable the units, and remove their files; drop-ins stay.")
@click.option("--dry-run", is_flag=True, help="Show what would be written or removed, and change nothing.")
@click.option("--force", is_flag=True, help="Also replace unit files that somebody wrote or edited (kept as *.bak).")
def systemd_command(*, undo: bool, dry_run: bool, force: bool) -> None:
    """Run the daemon as a systemd user service.

    Writes the user units with this installation's path and has the socket listen: the first ask starts the daemon.
    Run it again after an upgrade or a move. What you change belongs into a drop-in (systemctl --user edit
    broker.service), which is never touched.
    """
    try:
        done = _undo(dry_run=dry_run, force=force) if undo else _install(dry_run=dry_run, force=force)
    except installing.NotOurs as error:
        click.echo(error.difference, err=True, nl=False)
        raise
    if not done:
        click.echo("nothing to undo" if undo else "set up already")
    if not undo and not dry_run:
        _advise()


def _install(*, dry_run: bool, force: bool) -> int:
    return _tell(installing.install(Client(paths.socket_path()), force=force, dry_run=dry_run))


def _undo(*, dry_run: bool, force: bool) -> int:
    return _tell(installing.uninstall(force=force, dry_run=dry_run))


def _tell(lines: Iterable[str]) -> int:
    """Print each line as soon as it is true; return how many there were."""
    count = 0
    for line in lines:
        click.echo(line)
        count += 1
    return count


def _advise() -> None:
    from broker.config import read  # noqa: PLC0415  # not for --help
    from broker.sources import TYPES  # noqa: PLC0415

    try:
        read(paths.config_path(), TYPES)
    except ConfigError:
        click.echo(_NO_CONFIG, err=True)
    if systemd.lingers() is False:
        click.echo(_LINGER, err=True)
