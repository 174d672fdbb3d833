"""The arguments that several commands share, with their completion."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem

from broker import paths
from broker.errors import BrokerError

_COMPLETION_S = 1.0


class CredentialName(click.types.StringParamType):
    """The name of a credential; completes to those that the running daemon knows."""

    name = "credential"

    def shell_complete(self, _ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Ask the daemon, if one runs; a completion never starts one and never complains."""
        from broker.client import Client  # noqa: PLC0415  # only for a completion: `broker run` starts sooner without

        try:
            document = Client(paths.socket_path(), timeout_s=_COMPLETION_S).status()
        except BrokerError:
            return []
        names = (credential["name"] for credential in document["credentials"])
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


CREDENTIAL = CredentialName()

VARIABLE = click.option(
    "--var", "variable", metavar="NAME", help="The variable's name; ANTHROPIC_API_KEY if not given."
)


def examples(*lines: str) -> str:
    r"""Write the end of a command's help; `\b` is click's mark for "do not rewrap"."""
    return "\n".join(["\b", "Examples:" if len(lines) > 1 else "Example:", *(f"  {line}" for line in lines)])
