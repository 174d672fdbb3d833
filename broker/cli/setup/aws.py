"""`broker setup aws`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from broker import paths
from broker.cli.arguments import CREDENTIAL, examples
from broker.cli.output import printable
from broker.errors import BadRequest, ConfigError

if TYPE_CHECKING:
    from pathlib import Path


@click.command(
    "aws",
    epilog=examples(
        "broker setup aws --profile claude --credential bedrock",
        "aws --profile claude sts get-caller-identity",
        "broker setup aws --profile claude --undo",
    ),
)
@click.option("--profile", metavar="NAME", required=True, help="The profile of the AWS config that gets our keys.")
@click.option("--credential", metavar="NAME", type=CREDENTIAL, help="Which credential; the default one if not given.")
@click.option("--yes", is_flag=True, help="Do not ask before another program is replaced.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@click.option("--undo", is_flag=True, help="Put back what was there before.")
def aws_command(*, profile: str, credential: str | None, yes: bool, dry_run: bool, undo: bool) -> int:
    """Have an AWS profile ask the broker for its keys.

    Every program that uses the profile does then. Sets credential_process in ~/.aws/config ($AWS_CONFIG_FILE), and nothing else: every other line stays as it is.
    """
    from broker.integrations import aws_setup, installed_helper  # noqa: PLC0415  # not for --help
    from broker.integrations.claude_code import settings  # noqa: PLC0415  # as above

    if undo:
        click.echo(printable(aws_setup.undo(profile, os.environ, paths.state_dir(), dry_run=dry_run)))
        return 0
    helper = installed_helper.path()
    if installed_helper.kind(helper) == "missing":
        raise ConfigError([f"{helper} is missing; reinstall the package"])
    name, region = _served(credential, profile)
    command = settings.command(helper, "--aws", name)
    plan = aws_setup.make(profile, command, os.environ, paths.state_dir())
    if plan.changes_nothing:
        click.echo(f"{plan.file.path}: set up already")
        return 0
    click.echo(printable(f"{plan.file.path}: [{_heading(profile)}] credential_process = {command}"))
    if dry_run:
        click.echo("nothing was changed (--dry-run)")
        return 0
    if plan.replaces and not yes and not _agreed(profile):
        click.echo("nothing was changed")
        return 1
    aws_setup.apply(plan)
    if _lacks_region(plan.record.after, plan.file.path, profile):
        click.echo(f"it has no region, and programs want one: aws configure set region {region} --profile {profile}")
    click.echo(f"try it: aws --profile {profile} sts get-caller-identity; to take it back: --undo")
    return 0


def _served(name: str | None, profile: str) -> tuple[str, str]:
    """Find the credential, which gives AWS keys and does not come from the very profile; say its region too."""
    from broker import config  # noqa: PLC0415  # not for --help
    from broker.model import Kind  # noqa: PLC0415  # as above
    from broker.sources import TYPES  # noqa: PLC0415  # as above

    found = config.read(paths.config_path(), TYPES)
    wanted = name or found.default
    if wanted is None or wanted not in found.credentials:
        raise BadRequest(f"say which credential: --credential {'|'.join(found.credentials)}")
    served = found.credentials[wanted]
    source = found.sources[served.source]
    kind = source.type.kind(served.settings)
    if kind not in {Kind.AWS_SESSION, Kind.API_KEY}:  # of a command's nobody knows before
        raise BadRequest(f"{wanted} is of kind {kind}, and credential_process needs an aws-session")
    if _begins_with(source.settings) == profile:
        raise BadRequest(
            f"{wanted} comes from profile {profile} itself, so the broker would ask itself; use another --profile"
        )
    region = getattr(served.settings, "region", None) or getattr(source.settings, "region", None)
    return served.name, region or "REGION"


def _lacks_region(text: str, path: Path, profile: str) -> bool:
    from broker.integrations import aws_config  # noqa: PLC0415  # not for --help

    if os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"):
        return False
    return "region" not in aws_config.profiles(text, path)[profile]


def _begins_with(settings: object) -> str | None:
    """Name the AWS profile that a source reads; None where it reads none."""
    from broker.sources.aws.settings import AwsSourceSettings  # noqa: PLC0415  # not for --help

    if not isinstance(settings, AwsSourceSettings):
        return None
    if settings.access_key_id or settings.web_identity_token or settings.sso:
        return None
    return settings.profile or os.environ.get("AWS_PROFILE") or "default"


def _heading(profile: str) -> str:
    return "default" if profile == "default" else f"profile {profile}"


def _agreed(profile: str) -> bool:
    what = f"profile {profile} has another credential_process now"
    if not sys.stdin.isatty():
        raise BadRequest(f"{what}; to go on: --yes")
    return click.confirm(f"{what}. Go on?")
