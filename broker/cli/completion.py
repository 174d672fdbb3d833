"""`broker completion`: the shell's half of completion, which click writes."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from broker.cli.arguments import examples

_SHELLS = ("bash", "zsh", "fish")


@click.command(
    "completion",
    epilog=examples("broker completion bash > ~/.local/share/bash-completion/completions/broker"),
)
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion_command(ctx: click.Context, shell: str) -> None:
    """Print the script that completes this command line in SHELL.

    It completes commands, options and credential names.

    \b
    bash  echo 'eval "$(broker completion bash)"' >> ~/.bashrc
    zsh   echo 'eval "$(broker completion zsh)"' >> ~/.zshrc
    fish  broker completion fish > ~/.config/fish/completions/broker.fish
    """  # noqa: D301  # \b is click's mark for "do not rewrap"
    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101  # click has all of _SHELLS
    script = kind(ctx.find_root().command, {}, "broker", "_BROKER_COMPLETE")
    # Not source(): that runs the shell to see its version, and the script may be meant for another machine.
    click.echo(script.source_template % script.source_vars())
