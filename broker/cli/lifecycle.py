"""`broker start`, `stop`, `restart`."""

from __future__ import annotations

import click

from broker import background, paths
from broker.cli.arguments import examples
from broker.client import Client
from broker.errors import ConfigError


@click.command("start", epilog=examples("broker start"))
def start_command() -> None:
    """Start the daemon in the background, unless one runs.

    Through the systemd user service where it is set up, else as a process of its own that writes to broker.log in
    the state folder.
    """
    client = Client(paths.socket_path())
    started = background.start(client)
    click.echo(f"{'started' if started else 'a daemon runs already'} ({_who(client)})")


@click.command("stop", epilog=examples("broker stop"))
def stop_command() -> None:
    """Stop the daemon, wherever it was started.

    Answers on their way are finished first; a daemon that hangs is killed.
    """
    stopped = background.stop(Client(paths.socket_path()))
    click.echo("stopped" if stopped else "no daemon was running")


@click.command("restart", epilog=examples("broker restart"))
def restart_command() -> None:
    """Stop the daemon if it runs, and start it.

    One that serves goes on where the config has become wrong: the next one could not start with it.
    """
    client = Client(paths.socket_path())
    if client.healthy():
        _check_config()
    background.restart(client)
    click.echo(f"restarted ({_who(client)})")


def _check_config() -> None:
    from broker import config  # noqa: PLC0415  # `start` and `stop` need no reader
    from broker.sources import TYPES  # noqa: PLC0415

    try:
        config.read(paths.config_path(), TYPES)
    except ConfigError as error:
        raise ConfigError([*error.problems, "the daemon that runs goes on with the config it has"]) from error


def _who(client: Client) -> str:
    daemon = client.status()["daemon"]
    return f"pid {daemon['pid']}, socket {client.socket_path}"
