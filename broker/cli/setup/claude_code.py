"""`broker setup claude-code`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from broker import background, paths
from broker.cli.arguments import examples
from broker.cli.output import printable
from broker.cli.setup import check as checking
from broker.cli.setup.options import Asked, options
from broker.client import Client
from broker.errors import BadRequest, BrokerError
from broker.integrations.claude_code import settings

if TYPE_CHECKING:
    from broker.cli.setup.route import Prepared
    from broker.integrations.claude_code.plan import Plan
    from broker.integrations.claude_code.release import Release


@click.command(
    "claude-code",
    epilog=examples(
        "broker setup claude-code --dry-run",
        "broker setup claude-code --credential work",
        "broker setup claude-code --credential work --provider litellm \\\n      --base-url https://llm.example:4000",
        "broker setup claude-code --credential bedrock --provider bedrock \\\n      --region us-east-1",
        "broker setup claude-code --credential vertex --provider vertex \\\n      --project my-project --region global",
        "broker setup claude-code --undo",
    ),
)
@click.option("--scope", type=click.Choice(settings.SCOPES), default="user", show_default=True, help="Whose settings.")
@options
@click.option("--yes", is_flag=True, help="Do not ask before something of yours is replaced.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@click.option("--undo", is_flag=True, help="Put back what was there before.")
def claude_code_command(
    *,
    scope: str,
    yes: bool,
    dry_run: bool,
    undo: bool,
    **asked: Any,  # noqa: ANN401  # click's names for `Asked`
) -> int:
    """Have Claude Code ask the broker for its credential.

    Changes what this takes in Claude Code's settings, and nothing else: every other key, its order and its layout
    stay. Values that are not the broker's are shown as "…". What an earlier setup for another provider wrote goes.

    \b
    anthropic, litellm      the helper gives the key
    bedrock --via export    the most robust: the helper gives AWS keys, and new
                            ones after a refusal
    bedrock --via endpoint  [endpoints.aws] gives them, as to every AWS program
    bedrock --via bearer    the helper gives a Bedrock API key
    vertex --via helper     the most robust: the helper gives an access token
    vertex --via metadata   [endpoints.gcp] gives it, as to every Google program

    \b
    user     ~/.claude/settings.json ($CLAUDE_CONFIG_DIR)
    project  .claude/settings.json of this folder, shared through git
    local    .claude/settings.local.json of this folder, for you alone
    """  # noqa: D301  # \b is click's mark for "do not rewrap"
    client = Client(paths.socket_path())
    if undo:
        return _undo(scope, client, dry_run=dry_run)
    from broker.cli.setup.route import prepare  # noqa: PLC0415  # not for --help

    made = prepare(scope, Asked(**asked), client, dry_run=dry_run)
    _show(scope, made)
    if dry_run:
        click.echo("nothing was changed (--dry-run)")
        return 0
    if not _agreed(made.plan, made.release, yes=yes):
        click.echo("nothing was changed")
        return 1
    _apply(made.plan, client)
    checking.tell(client, made.release, made.route)
    return 0


def _show(scope: str, made: Prepared) -> None:
    from broker.integrations.claude_code import advice  # noqa: PLC0415  # not for --help

    plan, remarks = made.plan, made.remarks
    if plan.changes_nothing:
        click.echo(f"{plan.file.path}: set up already")
    for line in plan.shown.splitlines():
        click.echo(printable(line.expandtabs(4)))
    for note in filter(None, remarks.notes):
        click.echo(note)
    found = advice.warnings(scope, plan, made.release, route=made.route, project=Path.cwd(), env=os.environ)
    for warning in filter(None, (*remarks.warnings, *found)):
        click.echo(f"broker: warning: {printable(warning)}", err=True)


def _agreed(plan: Plan, release: Release, *, yes: bool) -> bool:
    """Ask where a person's own words would be replaced, or a key may go to a new place."""
    reasons = list(plan.replaces)
    for name, url in plan.config.released if plan.config else ():
        instead = f" and no longer for {', '.join(release.lost)}" if release.lost else ""
        reasons.append(f"credential {name} will be released for {url}{instead}")
    if not reasons or yes:
        return True
    if not sys.stdin.isatty():
        raise BadRequest(f"{'; '.join(reasons)}; to go on: --yes")
    return click.confirm(f"{'; '.join(reasons)}. Go on?")


def _apply(plan: Plan, client: Client) -> None:
    from broker.integrations.claude_code import plan as plans  # noqa: PLC0415  # not for --help

    if not plan.changes_nothing:
        plans.apply(plan, lambda: _reload(client))
        click.echo(f"{plan.file.path}: Claude Code asks the broker from its next start on; to take it back: --undo")


def _undo(scope: str, client: Client, *, dry_run: bool) -> int:
    from broker.integrations.claude_code import plan, undo  # noqa: PLC0415  # not for --help

    file = plan.find(scope, Path.cwd(), os.environ)
    planned = undo.plan(file, paths.state_dir())
    if planned is None:
        click.echo(f"{file.path}: nothing was set up there by this broker")
        return 0
    if not dry_run:
        undo.apply(planned, lambda: None if planned.removes_config else _reload(client))
    for line in planned.describe():
        click.echo(printable(f"would be: {line}" if dry_run else line))
    if planned.removes_config:
        click.echo("a daemon that runs keeps what it has: broker stop; what is stored stays: broker secret list")
    for line in planned.left:
        click.echo(f"broker: warning: {printable(line)}", err=True)
    return 1 if planned.left else 0


def _reload(client: Client) -> None:
    try:
        background.reload(client)
    except BrokerError as error:
        click.echo(f"broker: warning: the running daemon keeps the old config: {error}", err=True)
