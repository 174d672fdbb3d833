"""`broker setup systemd`."""

from __future__ import annotations

import click

from broker.cli.arguments import examples


@click.command("systemd", epilog=examples("broker setup systemd", "broker setup systemd --undo"))
def systemd_command() -> None:
    """Install and enable the systemd user units."""
    raise click.UsageError("being built")
