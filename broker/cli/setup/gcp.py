"""`broker setup gcp`."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from broker import paths
from broker.background import with_daemon
from broker.cli.arguments import CREDENTIAL, examples
from broker.cli.output import printable, warn
from broker.client import Client
from broker.errors import BadRequest
from broker.integrations import gcp_clients, textfile
from broker.integrations.textfile import FileProblem, TextFile


@click.command(
    "gcp",
    epilog=examples("broker setup gcp --credential vertex", "broker setup gcp --credential vertex --undo"),
)
@click.option("--credential", metavar="NAME", type=CREDENTIAL, help="Which credential; the default one if not given.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@click.option("--undo", is_flag=True, help="Remove the file again.")
def gcp_command(*, credential: str | None, dry_run: bool, undo: bool) -> int:
    """Write a Google credentials file that asks the broker.

    For programs that cannot be led to a metadata server (broker env does that). The file holds no secret, lies beside the broker's config, and is named to programs by GOOGLE_APPLICATION_CREDENTIALS.
    """
    name = _served(credential)
    file = textfile.read(paths.config_path().with_name(f"gcp-{name}.json"))
    if file.text is not None and not gcp_clients.is_ours(file.text):
        raise FileProblem(f"{file.path}: is not the broker's file; move it away")
    if undo:
        return _undo(file, dry_run=dry_run)
    text = _content(name)
    _tell(file, text, dry_run=dry_run)
    if not dry_run and file.text != text:
        textfile.check_replaceable(file)
        textfile.replace(file, text)
    return 0


def _served(name: str | None) -> str:
    from broker import config  # noqa: PLC0415  # not for --help
    from broker.sources import TYPES  # noqa: PLC0415  # as above

    found = config.read(paths.config_path(), TYPES)
    wanted = name or found.default
    if wanted is None or wanted not in found.credentials:
        raise BadRequest(f"say which credential: --credential {'|'.join(found.credentials)}")
    return wanted


def _content(name: str) -> str:
    """Write the file by what the daemon says of its endpoint. Raises what `Client.consumer` raises."""
    answer: dict[str, Any] = with_daemon(Client(paths.socket_path()), lambda client: client.consumer(name))
    address = answer["set"].get("GCE_METADATA_HOST")
    if address is None:
        raise BadRequest(f"{name} is none of Google's; see: broker setup aws --help")
    if answer["problem"] is not None:
        warn(str(answer["problem"]["message"]))
    facts = {"quota_project": answer["set"].get("GOOGLE_CLOUD_QUOTA_PROJECT", "")}
    command = (str(Path(sys.executable).parent / "broker"), "export", name, "--format", "gcp-executable")
    return json.dumps(gcp_clients.external_account(command, address, facts), indent=2) + "\n"


def _tell(file: TextFile, text: str, *, dry_run: bool) -> None:
    state = "set up already" if file.text == text else "would be written" if dry_run else "written; no secret is in it"
    click.echo(printable(f"{file.path}: {state}"))
    click.echo("programs find it by these variables:")
    click.echo(f"  export GOOGLE_APPLICATION_CREDENTIALS={shlex.quote(printable(str(file.path)))}")
    click.echo(f"  export {gcp_clients.ALLOW}=1")
    for name in ("GCE_METADATA_HOST", "GOOGLE_OAUTH_ACCESS_TOKEN"):
        if os.environ.get(name):
            warn(f"{name} is set in your environment, which some programs heed first; run: unset {name}")


def _undo(file: TextFile, *, dry_run: bool) -> int:
    if file.text is None:
        click.echo(printable(f"{file.path}: nothing was set up there by this broker"))
        return 0
    if not dry_run:
        textfile.replace(file, None)
    click.echo(printable(f"{'would be: ' if dry_run else ''}{file.path}: removed"))
    if os.environ.get("GOOGLE_APPLICATION_CREDENTIALS") == str(file.path):
        warn("GOOGLE_APPLICATION_CREDENTIALS names it still; run: unset GOOGLE_APPLICATION_CREDENTIALS")
    return 0
