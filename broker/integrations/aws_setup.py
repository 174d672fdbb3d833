"""`credential_process` in one profile of the AWS config as a plan, and the way back from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.errors import BadRequest
from broker.integrations import aws_config, setup_records, textfile
from broker.integrations.aws_config import PROCESS
from broker.integrations.textfile import TextFile
from broker.paths import private_folder

_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Record:
    """What one profile was and became. `before` and `after` are the whole file, `process` the command that was there.

    `made`: the topmost folder that was made for it, as where the file is a link that leads nowhere yet. It may hold secrets: 0600 in a folder of 0700, and never shown.
    """

    path: str
    profile: str
    had_section: bool
    process: str | None
    before: str | None
    after: str
    command: str
    version: int = _VERSION
    made: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """One setup. `replaces`: the profile has another program now."""

    file: TextFile
    record: Record
    record_path: Path
    replaces: bool

    @property
    def changes_nothing(self) -> bool:
        """Whether it is there already."""
        return self.file.text == self.record.after


def make(profile: str, command: str, env: Mapping[str, str], state: Path) -> Plan:
    """Work it out. Raises `BadRequest` where the profile has other credentials; `ConfigError`, `FileProblem`."""
    if not aws_config.PROFILE.fullmatch(profile):
        raise BadRequest("--profile: letters, digits and _.@+:/- only, and no other character first")
    path = aws_config.config_path(env)
    file = textfile.read(path)
    text = file.text or ""
    known = aws_config.profiles(text, path)
    _check_free(profile, known.get(profile, {}), env)
    after = aws_config.with_process(text, path, profile, command)
    if after != file.text:
        textfile.check_replaceable(file)
    had = known.get(profile, {}).get(PROCESS)
    made = textfile.missing_folder(file)
    record = Record(str(path), profile, profile in known, had, file.text, after, command, made=made)
    record_path = setup_records.path_for(state, "aws", str(path), profile)
    older = setup_records.load(record_path, Record, _VERSION)
    if older is not None and had == older.command:  # undo goes back to before the first
        before = older.before if file.text == older.after else _taken_back(older, file)
        record = Record(
            str(path), profile, older.had_section, older.process, before, after, command, made=older.made or made
        )
    ours = older is not None and had == older.command
    return Plan(file, record, record_path, replaces=had not in {None, command} and not ours)


def apply(plan: Plan) -> None:
    """Change the file, after what it was is kept. Raises `FileProblem`, `ChangedMeanwhile`."""
    private_folder(plan.record_path.parent.parent)
    with textfile.only_one(private_folder(plan.record_path.parent)):
        textfile.check_unchanged(plan.file)
        setup_records.save(plan.record_path, plan.record)
        if not plan.changes_nothing:
            textfile.replace(plan.file, plan.record.after)


def undo(profile: str, env: Mapping[str, str], state: Path, *, dry_run: bool) -> str:
    """Take it back; say what became of it. Raises `ConfigError`, `FileProblem`, `ChangedMeanwhile`."""
    path = aws_config.config_path(env)
    record_path = setup_records.path_for(state, "aws", str(path), profile)
    record = setup_records.load(record_path, Record, _VERSION)
    if record is None:
        return f"{path}: nothing was set up in profile {profile} by this broker"
    file = textfile.read(path)
    before = record.before if file.text in {record.before, record.after} else _taken_back(record, file)
    if dry_run:
        return f"would be: {_becomes(path, profile, file, before)}"
    with textfile.only_one(private_folder(record_path.parent)):
        textfile.sweep(file)
        if file.text != before:
            textfile.check_replaceable(file)
            textfile.replace(file, before)
        if before is None:
            textfile.remove_folders(file, record.made)
        record_path.unlink(missing_ok=True)
    return _becomes(path, profile, file, before)


def _check_free(profile: str, keys: aws_config.Profile, env: Mapping[str, str]) -> None:
    """Raise `BadRequest` where the profile's other credentials would be taken instead of ours."""
    path, credentials = aws_config.config_path(env), aws_config.credentials_path(env)
    stored = aws_config.profiles(textfile.read(credentials).text or "", credentials, bare=True).get(profile, {})
    places = ((path, list(aws_config.stronger(keys))), (credentials, [*aws_config.stronger(stored), *_process(stored)]))
    for place, names in places:
        if names:
            raise BadRequest(
                f"profile {profile} has {names[0]} in {place}, which wins over {PROCESS}; take it out, or use another --profile"
            )


def _process(keys: aws_config.Profile) -> list[str]:
    return [PROCESS] if keys.get(PROCESS) else []


def _taken_back(record: Record, file: TextFile) -> str | None:
    """Take only ours out of a file that somebody wrote since."""
    if file.text is None:
        return None
    now = aws_config.profiles(file.text, file.path).get(record.profile, {}).get(PROCESS)
    if now != record.command:
        return file.text
    if record.process is not None:
        return aws_config.with_process(file.text, file.path, record.profile, record.process)
    text = aws_config.without_process(file.text, file.path, record.profile, section_too=not record.had_section)
    return None if record.before is None and not text.strip() else text


def _becomes(path: Path, profile: str, file: TextFile, before: str | None) -> str:
    if file.text == before:
        return f"{path}: profile {profile} has nothing of ours"
    return f"{path}: {'removed, as before' if before is None else f'profile {profile} is as before'}"
