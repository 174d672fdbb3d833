"""`broker run`, by itself: what the other commands need to find and stop daemons would only delay a start."""

from __future__ import annotations

import click

from broker import paths
from broker.cli.arguments import examples


@click.command("run", epilog=examples("broker run"))
def run_command() -> int:
    """Run the daemon in the foreground, as a service manager does.

    SIGTERM drains and ends it; SIGHUP reads the config again.
    """
    from broker.daemon.launch import run  # noqa: PLC0415  # the config and the store, only for the daemon

    return run(paths.config_path())
