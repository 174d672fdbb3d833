"""`broker setup claude-code`."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from broker import audience, background, durations, paths
from broker.cli import setup_check as checking
from broker.cli.arguments import CREDENTIAL, examples
from broker.cli.output import printable
from broker.client import Client
from broker.errors import BadRequest, BrokerError, ConfigError
from broker.integrations import installed_helper
from broker.integrations.claude_code import settings

if TYPE_CHECKING:
    from broker.integrations.claude_code.plan import Plan
    from broker.integrations.claude_code.release import Release

_PROVIDERS: Final = {"anthropic": "", "bedrock": "aws", "vertex": "gcp", "litellm": ""}
"""Each provider, and the source it comes with where this version has that not yet."""


@dataclass(frozen=True, slots=True)
class _Remarks:
    """Lines about the choices that were made for a person, and about those that they made; empty ones are none."""

    notes: list[str]
    warnings: list[str]


def _seconds(_ctx: click.Context, _param: click.Parameter, value: str) -> float | None:
    """Read `--ttl`: seconds, None for `auto`."""
    if value == "auto":
        return None
    try:
        seconds = durations.parse(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if seconds < settings.TTL_MIN_S:
        # Its early ask after a refusal, a second later, could not be told from an ordinary one.
        raise click.BadParameter("at least 2s: below that nobody can tell when Claude Code's token was refused")
    return seconds


@click.command(
    "claude-code",
    epilog=examples(
        "broker setup claude-code --dry-run",
        "broker setup claude-code --credential work",
        "broker setup claude-code --credential work --provider litellm --base-url https://llm.example:4000",
        "broker setup claude-code --undo",
    ),
)
@click.option("--scope", type=click.Choice(settings.SCOPES), default="user", show_default=True, help="Whose settings.")
@click.option("--credential", metavar="NAME", type=CREDENTIAL, help="Which credential; the default one if not given.")
@click.option("--provider", type=click.Choice(list(_PROVIDERS)), default="anthropic", show_default=True)
@click.option("--base-url", metavar="URL", help="Where Claude Code sends requests; the credential is released for it.")
@click.option(
    "--ttl",
    metavar="auto|DURATION",
    callback=_seconds,
    default="auto",
    help="How long Claude Code keeps a token: auto, or 90s, 15m, ...",
)
@click.option("--yes", is_flag=True, help="Do not ask before something of yours is replaced.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@click.option("--undo", is_flag=True, help="Put back what was there before.")
def claude_code_command(
    *,
    scope: str,
    credential: str | None,
    provider: str,
    base_url: str | None,
    ttl: float | None,
    yes: bool,
    dry_run: bool,
    undo: bool,
) -> int:
    """Have Claude Code ask the broker for its key.

    Sets apiKeyHelper and its TTL in Claude Code's settings, for another address than Anthropic's also the switch
    that keeps the key out of its telemetry, and nothing else: every other key, its order and its layout stay.
    Values that are not the broker's are shown as "…".

    \b
    user     ~/.claude/settings.json ($CLAUDE_CONFIG_DIR)
    project  .claude/settings.json of this folder, shared through git
    local    .claude/settings.local.json of this folder, for you alone
    """  # noqa: D301  # \b is click's mark for "do not rewrap"
    client = Client(paths.socket_path())
    if undo:
        return _undo(scope, client, dry_run=dry_run)
    plan, release, remarks = _plan(scope, credential, _base_url(provider, base_url), ttl, client, dry_run=dry_run)
    _show(scope, plan, release, remarks)
    if dry_run:
        click.echo("nothing was changed (--dry-run)")
        return 0
    if not _agreed(plan, release, yes=yes):
        click.echo("nothing was changed")
        return 1
    _apply(plan, client)
    checking.tell(client, release.credential.name, is_new=release.is_new)
    return 0


def _base_url(provider: str, url: str | None) -> str | None:
    """Return what ANTHROPIC_BASE_URL becomes; None: it stays as it is."""
    if source := _PROVIDERS[provider]:
        raise BadRequest(f"--provider {provider} comes with the {source} source, which this version does not have")
    if url is None:
        if provider == "litellm":
            raise BadRequest("--provider litellm needs its address: --base-url https://HOST:4000")
        return None
    if wrong := audience.problem(url):
        raise BadRequest(f"--base-url: {wrong}")
    if "*" in url:
        raise BadRequest("--base-url: one address, without *")
    url = url.rstrip("/")
    return f"{url}/anthropic" if provider == "litellm" and not url.endswith("/anthropic") else url


def _plan(
    scope: str, name: str | None, url: str | None, ttl_s: float | None, client: Client, *, dry_run: bool
) -> tuple[Plan, Release, _Remarks]:
    from broker.integrations.claude_code import plan, release, telemetry  # noqa: PLC0415  # not for --help
    from broker.sources import TYPES  # noqa: PLC0415

    helper = installed_helper.path()
    if installed_helper.kind(helper) == "missing":
        raise ConfigError([f"{helper} is missing; reinstall the package"])
    file = plan.find(scope, Path.cwd(), os.environ)
    found = release.find(paths.config_path(), TYPES, name, url)
    ttl = checking.ttl(client, found, ttl_s, may_fetch=not dry_run)
    remarks = _Remarks([ttl.why], [ttl.warning])
    wanted = {settings.HELPER: settings.command(helper, name), settings.TTL: str(round(ttl.seconds * 1000))}
    if url is not None:
        wanted[settings.BASE_URL] = url
    if telemetry.is_wanted(file.text, url, os.environ):
        wanted[telemetry.SWITCH] = telemetry.ON
        remarks.notes.append(f"{telemetry.SWITCH[-1]}={telemetry.ON}: {telemetry.REASON}")
    return plan.make(file, wanted, found.plan, paths.state_dir()), found, remarks


def _show(scope: str, plan: Plan, release: Release, remarks: _Remarks) -> None:
    from broker.integrations.claude_code import advice  # noqa: PLC0415  # not for --help

    if plan.changes_nothing:
        click.echo(f"{plan.file.path}: set up already")
    for line in plan.shown.splitlines():
        click.echo(printable(line.expandtabs(4)))
    for note in filter(None, remarks.notes):
        click.echo(note)
    for warning in filter(None, (*remarks.warnings, *advice.warnings(scope, plan, release, Path.cwd(), os.environ))):
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
