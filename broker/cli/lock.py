"""`broker lock`, `broker unlock`."""

from __future__ import annotations

import click

from broker import paths
from broker.background import with_daemon
from broker.cli import hidden
from broker.cli.arguments import examples
from broker.client import Client
from broker.errors import Locked


@click.command("lock", epilog=examples("broker lock"))
def lock_command() -> None:
    """Drop every secret from the daemon's memory.

    Until `broker unlock` it hands out nothing. What sessions were given before they keep.
    """
    Client(paths.socket_path()).lock()
    click.echo("locked; back with: broker unlock")


@click.command("unlock", epilog=examples("broker unlock"))
def unlock_command() -> None:
    """Let the daemon hand out secrets again, with what it had kept.

    Asks for the passphrase where that is the key (persist = "passphrase"), or reads it from stdin; for a new one when
    there is none yet.
    """
    client = Client(paths.socket_path())
    try:
        with_daemon(client, lambda client: client.unlock())
    except Locked:
        daemon = client.status()["daemon"]
        if daemon["persist"] != "passphrase":
            raise
        client.unlock(hidden.passphrase(new=not daemon["locked"]))
    click.echo("unlocked")
