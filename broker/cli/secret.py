"""`broker secret set`, `list`, `delete`: the encrypted store behind `source = "local"`."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from difflib import get_close_matches

import click
from click.shell_completion import CompletionItem

from broker import config, paths
from broker.cli import hidden
from broker.cli.arguments import examples
from broker.cli.output import warn
from broker.client import Client, NotRunning
from broker.errors import BadRequest, BrokerError, Locked, UnknownCredential
from broker.secret import Secret
from broker.sources.answer import in_one_line
from broker.state_folder.access import State
from broker.state_folder.secrets import Stored

_COMPLETION_S = 1.0


class _SecretName(click.types.StringParamType):
    """The name of a stored secret; completes to those that the running daemon has."""

    name = "secret"

    def shell_complete(self, _ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Ask the daemon, if one runs; a completion starts nothing and asks for no passphrase."""
        try:
            names = Client(paths.socket_path(), timeout_s=_COMPLETION_S).secrets()
        except BrokerError:
            return []
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


_NAME = click.argument("name", type=_SecretName())


@click.group("secret", epilog=examples("broker secret set work", "broker secret list"))
def secret_command() -> None:
    """Store secrets on this machine, encrypted.

    A credential with source = "local" hands them out.
    """


@secret_command.command(
    "set",
    context_settings={"allow_extra_args": True},
    epilog=examples("broker secret set work", "pass show anthropic | broker secret set work"),
)
@_NAME
@click.pass_context
def set_(ctx: click.Context, name: str) -> None:
    """Store a secret as NAME, in place of the one before.

    The value is asked for without echo, or read from stdin, where one newline at its end is dropped, and a JSON object
    (a service account's key) is put into one line. A running daemon hands out the new value from then on.
    """
    if ctx.args:  # not quoted: it is the secret, most likely
        raise BadRequest(
            "the value does not belong on the command line, where other programs and your shell's history see it;"
            " leave it out and type it when asked. If it was a real one, replace it"
        )
    stored = _stored()
    if sys.stdin.isatty():
        _check_unlocked(stored.state.client)
    stored.put(name, Secret(in_one_line(hidden.ask(f"Value of {name}").reveal())))
    click.echo(f"stored {name}")


@secret_command.command("list", epilog=examples("broker secret list", "broker secret list --json"))
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def list_(*, as_json: bool) -> None:
    """Print the names of the stored secrets, never their values."""
    names = _stored().names()
    click.echo(json.dumps({"secrets": names}, indent=2) if as_json else "\n".join(names), nl=as_json or bool(names))


@secret_command.command("delete", epilog=examples("broker secret delete work"))
@_NAME
def delete(name: str) -> None:
    """Remove the secret NAME for good."""
    stored = _stored()
    if not stored.delete(name):
        near = get_close_matches(name, stored.names(), n=1)
        raise UnknownCredential(
            f"no secret is stored as {name!r:.80}; {f'did you mean {near[0]}?' if near else 'see: broker secret list'}"
        )
    click.echo(f"deleted {name}")


def _stored() -> Stored:
    return Stored(State(Client(paths.socket_path()), paths.config_path(), _passphrase, warn, _choose))


def _check_unlocked(client: Client) -> None:
    """Raise `Locked` before a person types a value in vain; without a daemon the passphrase is asked for."""
    with suppress(NotRunning):
        daemon = client.status()["daemon"]
        if daemon["locked"]:
            raise Locked("the broker is locked, so nothing can be stored; run: broker unlock")
        for warning in daemon["warnings"]:
            if warning["code"] == "passphrase-wanted":
                raise Locked(warning["message"])


def _choose() -> Secret | None:
    return hidden.choose(_passphrase)


def _passphrase(new: bool) -> Secret:  # noqa: FBT001  # what `Stored` gives
    if not sys.stdin.isatty():
        first = "broker unlock"
        if not config.names_credentials(paths.config_path()):  # no daemon starts then that could be unlocked
            first = f"broker setup claude-code; then: {first}"
        raise Locked(f"the passphrase is needed, and stdin is no terminal to ask for it; run first: {first}")
    return hidden.passphrase(new=new)
