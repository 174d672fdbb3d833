"""One setup as a plan: first everything that would change, then, in an order that a crash cannot spoil, the changes."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.errors import ConfigError, UnsafePath
from broker.integrations import textfile
from broker.integrations.claude_code import document, record, settings
from broker.integrations.claude_code.document import Keys
from broker.integrations.claude_code.record import Change, Edit, Record
from broker.integrations.textfile import ChangedMeanwhile, TextFile
from broker.paths import private_folder

_ENV: Final[Keys] = ("env",)


@dataclass(frozen=True, slots=True)
class ConfigPlan:
    """What becomes of our own config: its text, and the URLs (`released`) that a credential may be given out for.

    `says` tells the person in whole lines; a diff could show what else stands on the line.
    """

    file: TextFile
    after: str
    released: tuple[tuple[str, str], ...]
    says: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that one setup changes.

    `shown`: it, as a unified diff in which only our own values can be read. `replaces`: what a person would lose.
    `older`: the record of the setup before.
    """

    file: TextFile
    after: str
    config: ConfigPlan | None
    record: Record
    record_path: Path
    older: Record | None
    shown: str
    replaces: tuple[str, ...]

    @property
    def changes_nothing(self) -> bool:
        """Whether all of it is there already."""
        return self.file.text == self.after and self.config is None


def find(scope: str, project: Path, env: Mapping[str, str]) -> TextFile:
    """Look at the settings file of a scope. Raises `ConfigError`, `FileProblem`, `UnsafePath`."""
    path = settings.location(scope, project, env)
    file = textfile.read(path)
    # A cloned repository could make us write through its link into a file elsewhere.
    if scope != "user" and file.target != project.resolve() / ".claude" / path.name:
        raise UnsafePath(
            f"{path}: leads through a link to {file.target}; the broker trusts no project settings behind links"
        )
    return file


def make(file: TextFile, wanted: Mapping[Keys, str], config: ConfigPlan | None, state: Path) -> Plan:
    """Work out a setup that puts the `wanted` values into the settings. Raises `ConfigError`, `FileProblem`."""
    path = record.path_for(file.target, state)
    old = record.load(path)
    text = file.text or ""
    try:
        now = document.load(text)
        changes = _changes(now, wanted)
        after = _with(text, wanted)
        shown = _diff(_masked(text, now, wanted), wanted, str(file.path))
    except document.NotEditable as problem:
        raise ConfigError([f"{file.path}: {problem}; nothing was changed"]) from None
    if after != file.text:
        textfile.check_replaceable(file)
    if config is not None:
        textfile.check_replaceable(config.file)
        shown += config.says
    kept = _record(old, file, after, changes, config)
    return Plan(file, after, config, kept, path, old, shown, _replaced(now, wanted))


def apply(plan: Plan, config_changed: Callable[[], None]) -> None:
    """Change the files: our config first, since Claude Code must not be sent where no credential is released for.

    Raises `FileProblem` and, where somebody else wrote one of them meanwhile, `ChangedMeanwhile`; running the setup
    again, or its undo, mends what an interrupted one left.
    """
    private_folder(plan.record_path.parent.parent)
    with textfile.only_one(private_folder(plan.record_path.parent)):
        _check_unchanged(plan)
        record.save(plan.record_path, plan.record)
        if plan.config is not None:
            textfile.replace(plan.config.file, plan.config.after)
            config_changed()
        if plan.file.text != plan.after:
            textfile.replace(plan.file, plan.after)


def _check_unchanged(plan: Plan) -> None:
    """A person may have thought about the question for long: whoever was quicker than they is not overwritten."""
    textfile.check_unchanged(plan.file)
    if plan.config is not None:
        textfile.check_unchanged(plan.config.file)
    if record.load(plan.record_path) != plan.older:
        raise ChangedMeanwhile(f"{plan.file.path}: another broker setup was quicker; run this again")


def _with(text: str, wanted: Mapping[Keys, str]) -> str:
    for keys, value in wanted.items():
        if document.lookup(document.load(text), keys) != (True, value):
            text = document.put(text, keys, value)
    return text


def _changes(now: Mapping[str, object], wanted: Mapping[Keys, str]) -> list[Change]:
    changes = [Change(keys, *document.lookup(now, keys), value) for keys, value in wanted.items()]
    return changes if _ENV[0] in now else [*changes, Change(_ENV, was_there=False, before=None, after={})]


def _record(
    old: Record | None, file: TextFile, after: str, changes: Iterable[Change], config: ConfigPlan | None
) -> Record:
    """Describe this setup, and an older one with it: undo goes back to before the first."""
    made_folder = not file.target.parent.exists()
    if old is None:
        edit_ = None if config is None else Edit(str(config.file.path), config.file.text, config.after)
        released = () if config is None else config.released
        return Record(Edit(str(file.path), file.text, after), tuple(changes), edit_, released, made_folder)
    before, _ = record.undone_settings(old, file)
    released = tuple(dict.fromkeys((*old.released, *(config.released if config else ()))))
    return Record(
        Edit(str(file.path), before, after),
        record.merged(old.changes, changes),
        _config_edit(old, config),
        released,
        old.made_folder or made_folder,
    )


def _config_edit(old: Record, config: ConfigPlan | None) -> Edit | None:
    if config is None:
        return old.config
    before, _ = record.undone_config(old, config.file)
    return Edit(str(config.file.path), before, config.after)


def _replaced(now: Mapping[str, object], wanted: Mapping[Keys, str]) -> tuple[str, ...]:
    """Name what a person would lose; a question is due then."""
    found = []
    there, helper = document.lookup(now, settings.HELPER)
    if there and not settings.is_ours(helper):
        found.append(f"apiKeyHelper is {settings.described(helper)} now")
    there, url = document.lookup(now, settings.BASE_URL)
    if there and wanted.get(settings.BASE_URL, url) != url:
        found.append("ANTHROPIC_BASE_URL is another one now")
    return tuple(found)


def _masked(text: str, now: Mapping[str, object], wanted: Mapping[Keys, str]) -> str:
    """Hide every value but those that are already as wanted."""
    masked = document.mask(text)
    for keys, value in wanted.items():
        if document.lookup(now, keys) == (True, value):
            masked = document.put(masked, keys, value)
    return masked


def _diff(masked: str, wanted: Mapping[Keys, str], name: str) -> str:
    before, after = masked.splitlines(), _with(masked, wanted).splitlines()
    return "".join(f"{line}\n" for line in difflib.unified_diff(before, after, name, name, lineterm="", n=2))
