"""One setup as a plan: first everything that would change, then, in an order that a crash cannot spoil, the changes."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from broker.config import edit
from broker.errors import ConfigError, UnsafePath
from broker.integrations import textfile
from broker.integrations.claude_code import document, record, settings
from broker.integrations.claude_code.document import Keys
from broker.integrations.claude_code.record import Change, Edit, Record
from broker.integrations.textfile import TextFile
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
    """Everything that one setup changes. `shown`: it, as a unified diff in which only our own values can be read."""

    file: TextFile
    after: str
    config: ConfigPlan | None
    record: Record
    record_path: Path
    shown: str
    replaces: tuple[str, ...] = field(default=())

    @property
    def changes_nothing(self) -> bool:
        """Whether all of it is there already."""
        return self.file.text == self.after and self.config is None


@dataclass(frozen=True, slots=True)
class Undo:
    """What taking a setup back changes. `left`: what has to stay, and why."""

    file: TextFile
    before: str | None
    config: TextFile | None
    config_before: str | None
    record_path: Path
    made_folder: bool
    left: tuple[str, ...]

    def describe(self) -> list[str]:
        """Say of each file what becomes of it."""
        lines = [_becomes(self.file, self.before)]
        return lines if self.config is None else [*lines, _becomes(self.config, self.config_before)]


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
    return Plan(file, after, config, _record(old, file, after, changes, config), path, shown, _replaced(now, wanted))


def apply(plan: Plan, config_changed: Callable[[], None]) -> None:
    """Change the files: our config first, since Claude Code must not be sent where no credential is released for.

    Raises `FileProblem` and, where somebody else wrote one of them meanwhile, `ChangedMeanwhile`; running the setup
    again, or its undo, mends what an interrupted one left.
    """
    private_folder(plan.record_path.parent.parent)
    with textfile.only_one(private_folder(plan.record_path.parent)):
        record.save(plan.record_path, plan.record)
        if plan.config is not None:
            textfile.replace(plan.config.file, plan.config.after)
            config_changed()
        if plan.file.text != plan.after:
            textfile.replace(plan.file, plan.after)


def plan_undo(file: TextFile, state: Path) -> Undo | None:
    """Work out what takes the setup of this settings file back; None where none was recorded.

    Raises `ConfigError`, `FileProblem`.
    """
    path = record.path_for(file.target, state)
    old = record.load(path)
    if old is None:
        return None
    before, left = record.undone_settings(old, file)
    config = None if old.config is None else textfile.read(Path(old.config.path))
    config_before: str | None = None
    if config is not None:
        config_before, config_left = record.undone_config(old, config, _withdraw(config.path))
        left += config_left
    for changed, text in ((file, before), (config, config_before)):
        if changed is not None and changed.text != text:
            textfile.check_replaceable(changed)
    return Undo(file, before, config, config_before, path, old.made_folder, tuple(left))


def apply_undo(undo: Undo, config_changed: Callable[[], None]) -> None:
    """Take it back, Claude Code's settings first. Raises what `apply` raises."""
    with textfile.only_one(private_folder(undo.record_path.parent)):
        if undo.file.text != undo.before:
            textfile.replace(undo.file, undo.before)
        if undo.made_folder and undo.before is None:
            with suppress(OSError):  # it is gone, or somebody keeps other things in it
                undo.file.target.parent.rmdir()
        if undo.config is not None and undo.config.text != undo.config_before:
            textfile.replace(undo.config, undo.config_before)
            config_changed()
        undo.record_path.unlink(missing_ok=True)


def _becomes(file: TextFile, before: str | None) -> str:
    if file.text == before:
        return f"{file.path}: as before already"
    return f"{file.path}: {'removed, as before' if before is None else 'as before'}"


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
    before = config.file.text
    if old.config is not None and old.config.path == str(config.file.path):
        before, _ = record.undone_config(old, config.file, _withdraw(config.file.path))
    return Edit(str(config.file.path), before, config.after)


def _withdraw(path: Path) -> Callable[[str, str, str], str]:
    return lambda text, credential, url: edit.remove_audience(text, path, credential, url)


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


__all__ = ["ConfigPlan", "Plan", "Undo", "apply", "apply_undo", "find", "make", "plan_undo"]
