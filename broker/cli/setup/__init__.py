"""`broker setup ...`: each subcommand makes one other program work with the broker, and takes that back."""

from __future__ import annotations

from typing import Final

import click

from broker.cli import LazyGroup
from broker.cli.arguments import examples

SETUPS: Final = {
    "aws": "setup.aws",
    "claude-code": "setup.claude_code",
    "gcp": "setup.gcp",
    "systemd": "setup.systemd",
}
"""Each program, and the module of `broker.cli` that holds its subcommand as `NAME_command` (`-` as `_`)."""


@click.group(
    "setup",
    cls=LazyGroup,
    modules=SETUPS,
    epilog=examples("broker setup claude-code", "broker setup claude-code --undo"),
)
def setup_command() -> None:
    """Make other programs work with the broker, or undo that."""
