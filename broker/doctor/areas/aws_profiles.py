"""AWS's own config: profiles that ask us, and sources of ours that ask a profile."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from broker.doctor.claude import words
from broker.doctor.finding import Finding, error, warning
from broker.doctor.scene import Scene
from broker.errors import ConfigError
from broker.integrations import aws_config, textfile
from broker.integrations.claude_code import settings
from broker.integrations.textfile import FileProblem
from broker.model import Kind
from broker.sources.aws.settings import AwsSourceSettings


def check(scene: Scene) -> Iterator[Finding]:
    """Find what does not work, or would never end."""
    try:
        path = aws_config.config_path(scene.env)
    except ConfigError:
        return  # no home: told elsewhere
    try:
        profiles = aws_config.profiles(textfile.read(path).text or "", path)
    except (ConfigError, FileProblem) as problem:
        if _uses_aws(scene):
            yield warning(
                "aws-config", str(problem), "AWS's programs stumble over it, and so does our source", "mend it"
            )
        return
    ours = {name: keys[aws_config.PROCESS] for name, keys in profiles.items() if _is_ours(keys)}
    for name, command in ours.items():
        mend = f"broker setup aws --profile {name}"
        command_, *arguments = words(command)
        credential = arguments[1] if len(arguments) > 1 else None
        yield from program(scene, command_, f"profile {name} in {path}", mend)
        yield from known(scene, credential, f"profile {name} in {path}", f"{mend} --credential NAME")
        if stronger := next(aws_config.stronger(profiles[name]), None):
            what = f"profile {name} in {path} has {stronger} beside our {aws_config.PROCESS}"
            yield warning("aws-profile-stronger", what, "programs take that one", f"take {stronger} out of the profile")
    yield from _recursion(scene, path, ours)


def _recursion(scene: Scene, path: Path, ours: dict[str, str]) -> Iterator[Finding]:
    config = scene.good_config
    for source in config.sources.values() if config is not None else ():
        profile = source.settings.profile if isinstance(source.settings, AwsSourceSettings) else None
        if profile in ours:
            what = (
                f"[sources.{source.name}] reads profile {profile}, whose {aws_config.PROCESS} in {path} is the broker"
            )
            mend = f"name another profile in [sources.{source.name}], or: broker setup aws --profile {profile} --undo"
            yield error("aws-recursion", what, "the broker would ask itself for ever, so it refuses", mend)


def program(scene: Scene, path: str, where: str, mend: str) -> Iterator[Finding]:
    """Say what is wrong with a command that should be our helper."""
    if shutil.which(path) is None or not path.startswith("/"):
        yield error("aws-helper-gone", f"{where}: {path} is not there, or cannot be run", "nobody gets keys", mend)
    elif os.path.realpath(path) != os.path.realpath(scene.helper):
        what = f"{where} names {path}, and the helper of this installation is {scene.helper}"
        yield warning("aws-helper-other", what, "after an upgrade of one the other is an old one", mend)


def known(scene: Scene, credential: str | None, where: str, mend: str) -> Iterator[Finding]:
    """Say whether the credential that somebody asks for is there."""
    if scene.good_config is not None and (credential is None or scene.credential(credential) is None):
        # Not shown: it could be a secret, put there by mistake.
        what = f"{where} asks for a credential that {scene.good_config.path} does not know"
        yield error("aws-unknown-credential", what, "nobody gets keys", mend)


def _uses_aws(scene: Scene) -> bool:
    config = scene.good_config
    kinds = {Kind.AWS_SESSION, Kind.BEDROCK_API_KEY}
    return config is not None and any(
        config.sources[entry.source].type.kind(entry.settings) in kinds for entry in config.credentials.values()
    )


def _is_ours(profile: aws_config.Profile) -> bool:
    command = profile.get(aws_config.PROCESS)
    return bool(command) and settings.is_ours(command)
