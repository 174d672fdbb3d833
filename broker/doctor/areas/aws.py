"""AWS: the clock, and what would be taken instead of our keys, by Claude Code at Bedrock and by AWS's own programs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from broker.doctor import clouds
from broker.doctor.areas import aws_profiles
from broker.doctor.claude import Claude, Export
from broker.doctor.finding import Finding, error, fine, notice, parted, warning
from broker.doctor.scene import Scene
from broker.integrations import aws_config

_SETUP: Final = "broker setup claude-code --provider bedrock"
_REGIONS: Final = ("AWS_REGION", "AWS_DEFAULT_REGION")
_GATEWAY: Final = "ANTHROPIC_BEDROCK_BASE_URL"
_BEARER: Final = "AWS_BEARER_TOKEN_BEDROCK"
_KEYS: Final = ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE")
_FAILS_S: Final = 240.0
"""AWS takes signatures that are five minutes off."""
_USUAL_REGION: Final = "us-east-1"


def check(scene: Scene) -> list[Finding]:
    """Look at what concerns AWS, where anything does."""
    claude = Claude(scene)
    found = [*_skew(scene), *_bedrock(scene, claude), *aws_profiles.check(scene)]
    if found:
        return found
    way = clouds.bedrock_way(claude)
    return [fine("aws", f"Claude Code uses Bedrock by {way}" if way else "nothing stands in our way")]


def _skew(scene: Scene) -> Iterator[Finding]:
    """The broker measures it by AWS's own answers."""
    for entry in scene.status["credentials"] if scene.status is not None else ():
        with suppress(KeyError, TypeError, ValueError):
            skew_s = float(entry["details"]["clock_skew_s"])
            direction = "behind" if skew_s > 0 else "ahead of"
            what = f"this machine's clock is {abs(skew_s):.0f} s {direction} AWS's"
            why = "AWS refuses signatures that are five minutes off, and keys are taken for expired or for valid"
            say = error if abs(skew_s) >= _FAILS_S else warning
            yield say("aws-clock", what, why, "set the clock, and keep it so: sudo timedatectl set-ntp true")
            return


def _bedrock(scene: Scene, claude: Claude) -> Iterator[Finding]:
    way = clouds.bedrock_way(claude)
    if not way:
        return
    stronger = [_BEARER]
    if way == "endpoint":
        stronger += _KEYS
        yield from _endpoint(scene, claude)
        yield from _default_profile(scene, claude)
    for name in stronger:
        if (said := claude.variable(name)) is not None:
            mend = f"take it out of {said.file}" if said.file else f"unset {name}; and {_SETUP} --via {way}"
            why = "Claude Code signs with that one, also when it has expired, and never asks the broker"
            yield error("aws-stray", f"{name} in {said.where} wins over the broker", why, mend)
    if way == "export" and (export := claude.export()) is not None:
        yield from _export(scene, export)
    if not any(claude.variable(name) for name in (*_REGIONS, _GATEWAY)):
        what = f"no AWS_REGION is set, so Claude Code uses {_USUAL_REGION}"
        yield notice("aws-region", what, "models and permissions may be elsewhere", f"{_SETUP} --region REGION")


def _export(scene: Scene, export: Export) -> Iterator[Finding]:
    yield from aws_profiles.program(
        scene, export.program, f"awsCredentialExport in {export.file}", f"{_SETUP} --via export"
    )
    yield from aws_profiles.known(
        scene, export.credential, f"awsCredentialExport in {export.file}", f"{_SETUP} --via export"
    )


def _endpoint(scene: Scene, claude: Claude) -> Iterator[Finding]:
    """Whether what the settings say leads to this daemon, and opens there."""
    said, token = claude.variable(clouds.ENDPOINT), claude.variable(clouds.ENDPOINT_TOKEN)
    url = (said.text if said is not None else None) or ""
    name = clouds.endpoint_credential(claude)
    if scene.status is None or scene.credential(name) is None or said is None:
        return  # no daemon: told elsewhere; not ours: not for us to judge
    where, again = f"{clouds.ENDPOINT} in {said.where}", f"{_SETUP} --credential {name} --via endpoint"
    face = clouds.face(scene, name)
    why = "Claude Code gets no keys there"
    if face.problem:
        what, mend = parted(face.problem, again)
        yield error("aws-endpoint", f"{where}: {what}", why, mend)
    elif face.variables.get(clouds.ENDPOINT) != url:
        yield error("aws-endpoint-stale", f"{where} is not where the daemon listens now", why, again)
    elif refused := clouds.refusal(url, (token.text if token is not None else None) or ""):
        yield error("aws-endpoint-refuses", f"{where}: {parted(refused, '')[0]}", why, parted(refused, again)[1])
    elif not face.lasting:
        what = "the endpoint's token ends with the daemon, as there is no key at rest"
        yield notice("aws-endpoint-ends", what, "after a restart Claude Code gets no keys", f"{_SETUP} --via export")


def _default_profile(scene: Scene, claude: Claude) -> Iterator[Finding]:
    """An SDK looks into the files before it asks an endpoint."""
    said = claude.variable("AWS_PROFILE")
    name = (said.text if said is not None else None) or "default"
    if found := aws_config.before_endpoint(name, scene.env):
        yield error(
            "aws-profile-wins",
            f"profile {name} in {found[0]} has {found[1]}, which wins over the endpoint",
            "Claude Code signs with those",
            f"{_SETUP} --via export, over which it does not win",
        )
