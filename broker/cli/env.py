"""`broker env`, `exec`: let another program find a credential, or hand it over where it can find none."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

import click

from broker import paths
from broker.background import with_daemon
from broker.cli import formats
from broker.cli.arguments import CREDENTIAL, VARIABLE, examples
from broker.client import Client
from broker.errors import BY_CODE, BadRequest, BrokerError, NeedsLogin
from broker.integrations import gcp_clients


@click.command("env", epilog=examples('eval "$(broker env bedrock)"', "broker env bedrock --json"))
@click.argument("name", type=CREDENTIAL)
@click.option("--json", "as_json", is_flag=True, help="Print what to set and what to unset.")
def env_command(name: str, *, as_json: bool) -> None:
    """Let other programs find credential NAME: shell lines.

    They name its endpoint and a token for it, never the secret itself: programs fetch that as they need it, and it is
    renewed for them. What would win over it is unset; a default profile of AWS's with keys of its own is hidden.
    Nothing is printed for a source that somebody must sign in to first.
    """
    consumer = _admitted(name)
    if isinstance(consumer.problem, NeedsLogin):
        raise consumer.problem  # its variables cannot work, and a script goes by the exit code
    if consumer.problem is not None:  # it may pass by itself, and then they do work
        click.echo(f"broker: {consumer.problem}", err=True)
    if not consumer.lasting:
        click.echo("broker: these hold until the daemon ends, as it keeps no key at rest; see: broker status", err=True)
    if as_json:
        answer = {"set": dict(consumer.variables), "unset": list(consumer.unset), "lasting": consumer.lasting}
        click.echo(json.dumps(answer, indent=2))
        return
    lines = [f"unset {variable}" for variable in consumer.unset]
    lines += [f"export {variable}={shlex.quote(value)}" for variable, value in consumer.variables.items()]
    click.echo("\n".join(lines))


@click.command(
    "exec",
    epilog=examples("broker exec work -- curl ...", "broker exec bedrock -- aws sts get-caller-identity"),
)
@click.argument("name", type=CREDENTIAL)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@VARIABLE
def exec_command(name: str, command: tuple[str, ...], variable: str | None) -> int:
    """Run COMMAND with credential NAME.

    COMMAND takes this process's place. Where the credential has an endpoint that is on, its variables are those of `broker env`, and what it finds there is renewed. Else they are those of `broker export`, as old as the start of COMMAND, and not renewed.
    """
    wanted, unwanted = _variables(name, variable)
    kept = {key: value for key, value in os.environ.items() if key not in unwanted}
    try:
        os.execvpe(command[0], command, kept | wanted)  # noqa: S606  # no shell, and that is the point
    except FileNotFoundError:
        click.echo(f"broker: {command[0]}: command not found", err=True)
        return 127
    except OSError as error:
        click.echo(f"broker: {command[0]}: {error.strerror}", err=True)
        return 126


def _variables(name: str, variable: str | None) -> tuple[dict[str, str], tuple[str, ...]]:
    """Say what to set and what to unset, by the endpoint where there is one."""
    if variable is None:
        try:
            consumer = _admitted(name)
        except BadRequest:
            pass  # it has none that is on
        else:
            if consumer.problem is not None:
                raise consumer.problem
            return dict(consumer.variables), consumer.unset
    credential = with_daemon(Client(paths.socket_path()), lambda client: client.credential(name))
    return formats.variables(credential, variable), formats.unwanted(credential)


@dataclass(frozen=True, slots=True)
class _Consumer:
    """What to set and to unset; whether it outlasts the daemon, and why the program will not get anything now."""

    variables: dict[str, str]
    unset: tuple[str, ...]
    lasting: bool
    problem: BrokerError | None


def _admitted(name: str) -> _Consumer:
    """Have a program let in to an endpoint. Raises `BadRequest` where the credential has none that is on."""
    answer = with_daemon(Client(paths.socket_path()), lambda client: client.consumer(name))
    variables: dict[str, str] = answer["set"]
    if any(variable.startswith("AWS_") for variable in variables):
        variables = _hiding_aws_files(os.environ) | variables
    if address := variables.get("GCE_METADATA_HOST"):
        variables = gcp_clients.past_proxies(address, os.environ) | variables
    problem = answer["problem"] and BY_CODE.get(answer["problem"]["code"], BrokerError)(answer["problem"]["message"])
    return _Consumer(variables, tuple(answer["unset"]), answer["lasting"], problem)


def _hiding_aws_files(env: Mapping[str, str]) -> dict[str, str]:
    """Hide the files of AWS's whose default profile has keys: no variable keeps these from winning over an endpoint.

    Where the region stands there it is carried over.
    """
    from broker.integrations import aws_config, textfile  # noqa: PLC0415  # only for an AWS credential

    found: dict[str, str] = {}
    for name, path, bare in (
        ("AWS_CONFIG_FILE", aws_config.config_path(env), False),
        ("AWS_SHARED_CREDENTIALS_FILE", aws_config.credentials_path(env), True),
    ):
        try:
            text = textfile.read(path).text or ""  # where it is a FIFO, a plain read would wait for ever
        except textfile.FileProblem:
            continue
        profile = aws_config.profiles(text, path, bare=bare).get("default", {})
        if profile.get(aws_config.PROCESS) or profile.get("credential_source") or any(aws_config.stronger(profile)):
            found[name] = os.devnull
            if region := profile.get("region"):
                found |= {variable: env.get(variable, region) for variable in ("AWS_REGION", "AWS_DEFAULT_REGION")}
    return found
