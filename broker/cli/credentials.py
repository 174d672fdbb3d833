"""`broker token`, `refresh`, `export`: hand out a credential that a person asks for by name."""

from __future__ import annotations

import json

import click

from broker import paths
from broker.background import with_daemon
from broker.cli import formats, gcp_executable
from broker.cli.arguments import CREDENTIAL, VARIABLE, examples
from broker.cli.output import span
from broker.client import Client
from broker.errors import Locked, NeedsLogin, SourceFailed


@click.command("token", epilog=examples("broker token", "broker token work --json"))
@click.argument("name", required=False, type=CREDENTIAL)
@click.option("--json", "as_json", is_flag=True, help="Print it with its name, fingerprint and life left.")
def token_command(name: str | None, *, as_json: bool) -> None:
    """Print the token of credential NAME, or of the default one."""
    token = with_daemon(Client(paths.socket_path()), lambda client: client.token(name))
    if not as_json:
        click.echo(token.secret.reveal())
        return
    answer = {
        "credential": token.credential,
        "token": token.secret.reveal(),
        "fingerprint": token.fingerprint,
        "expires_in_s": token.expires_in_s,
    }
    click.echo(json.dumps(answer, indent=2))


@click.command("refresh", epilog=examples("broker refresh", "broker refresh work"))
@click.argument("name", required=False, type=CREDENTIAL)
@click.option("--json", "as_json", is_flag=True, help="Print the credential's status afterwards.")
def refresh_command(name: str | None, *, as_json: bool) -> None:
    """Fetch credential NAME, or the default one, anew.

    Whatever life its token has left.
    """
    client = Client(paths.socket_path())
    status = with_daemon(client, lambda client: client.refresh(name))
    if as_json:
        click.echo(json.dumps(status, indent=2))
    damped_s = status.get("damped_s")
    damped = f"; not asked again so soon, try in {damped_s}s" if damped_s else ""
    if status["last_error"]:
        failed = NeedsLogin if status["state"] == "needs-login" else SourceFailed
        raise failed(f"{status['name']}: {status['last_error']} (now {status['state']}{damped})")
    if status["state"] == "locked":
        raise Locked(f"{status['name']}: called off, the broker was locked meanwhile; run: broker unlock")
    if status["state"] == "empty":
        raise SourceFailed(f"{status['name']}: called off, the config was changed meanwhile; try again")
    if as_json:
        return
    left = status["expires_in_s"]
    life = "no expiry" if left is None else f"{span(left)} left"
    click.echo(f"{status['name']}: {status['state']}, {life}, fingerprint {status['fingerprint']}{damped}")


@click.command("export", epilog=examples('eval "$(broker export work)"', "broker export work --format headers"))
@click.argument("name", type=CREDENTIAL)
@click.option(
    "--format",
    "form",
    metavar="FORMAT",
    type=click.Choice([*formats.FORMATS, gcp_executable.NAME]),
    default="env",
    show_default=True,
    help="One of those above.",
)
@VARIABLE
def export_command(name: str, form: str, variable: str | None) -> None:
    """Print credential NAME for another program.

    \b
    env                 lines for a shell: ANTHROPIC_API_KEY, or its kind's own
    json                all its parts
    headers             a JSON map, for an otelHeadersHelper or headersHelper
    credential-process  of an AWS session, for a profile's credential_process
    claude              of an AWS session, for Claude Code's awsCredentialExport
    anthropic-env, anthropic-profile, anthropic-credentials
                        of an anthropic source, the variables and files that
                        Claude Code and Anthropic's SDKs read
    gcp-executable      for Google's clients; see: broker setup gcp
    """  # noqa: D301  # \b is click's mark for "do not rewrap"
    if form == gcp_executable.NAME:
        click.echo(gcp_executable.answer(name))
        return
    credential = with_daemon(Client(paths.socket_path()), lambda client: client.credential(name))
    click.echo(formats.FORMATS[form](credential, variable))
