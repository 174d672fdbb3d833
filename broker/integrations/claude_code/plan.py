"""One setup as a plan: first everything that would change, then, in an order that a crash cannot spoil, the changes."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.errors import ConfigError, UnsafePath
from broker.integrations import setup_records, textfile
from broker.integrations.claude_code import document, record, settings
from broker.integrations.claude_code.document import Keys
from broker.integrations.claude_code.record import Change, Edit, Record
from broker.integrations.textfile import ChangedMeanwhile, TextFile
from broker.paths import private_folder

_ENV: Final[Keys] = ("env",)

Wanted = Mapping[Keys, str | None]
"""What a setup makes of the settings: the texts that are to stand there, None for what is not to."""

_UNSHOWN: Final = frozenset({("env", "AWS_CONTAINER_AUTHORIZATION_TOKEN")})
"""Of our own values those that are secrets all the same."""

_UNASKED: Final = frozenset({settings.TTL})
"""What is no loss: who chose another number can choose it again."""


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


def ground(file: TextFile, route: str, state: Path) -> str:
    """Give the text on which a setup builds: without what an earlier one by another route did.

    Raises `ConfigError`, `FileProblem`.
    """
    old = record.load(record.path_for(file.target, state))
    return _ground(file, route, old, ())[0]


def make(file: TextFile, route: str, wanted: Wanted, config: ConfigPlan | None, state: Path) -> Plan:
    """Work out a setup that makes the settings as `wanted`. Raises `ConfigError`, `FileProblem`."""
    path = record.path_for(file.target, state)
    old = record.load(path)
    text = file.text or ""
    cleared, stay = _ground(file, route, old, wanted)
    try:
        now = document.load(text)
        changes = _changes(now, wanted)
        after = _with(cleared, wanted)
        shown = _diff(_masked(text, _ours(old, wanted)), _masked(after, _ours(old, wanted)), file.path)
    except document.NotEditable as problem:
        raise _not_editable(file, problem) from None
    if after != file.text:
        textfile.check_replaceable(file)
    if config is not None:
        textfile.check_replaceable(config.file)
        shown += config.says
    kept = _record(old, stay, file, after=after, changes=changes, config=config, route=route)
    return Plan(file, after, config, kept, path, old, shown, _replaced(now, wanted, stay))


def apply(plan: Plan, config_changed: Callable[[], None]) -> None:
    """Change the files: our config first, since Claude Code must not be sent where no credential is released for.

    Raises `FileProblem` and, where somebody else wrote one of them meanwhile, `ChangedMeanwhile`; running the setup
    again, or its undo, mends what an interrupted one left.
    """
    private_folder(plan.record_path.parent.parent)
    with textfile.only_one(private_folder(plan.record_path.parent)):
        _check_unchanged(plan)
        setup_records.save(plan.record_path, plan.record)
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


def _ground(
    file: TextFile, route: str, old: Record | None, wanted: Wanted | tuple[()]
) -> tuple[str, tuple[Change, ...]]:
    """Take back what the setup before did by another route; return the text, and the changes that stay."""
    text = file.text or ""
    if old is None:
        return text, ()
    if old.route == route or file.text is None:
        return text, old.changes
    try:
        return record.taken_back(old, text, wanted)
    except document.NotEditable as problem:
        raise _not_editable(file, problem) from None


def _not_editable(file: TextFile, problem: document.NotEditable) -> ConfigError:
    return ConfigError([f"{file.path}: {problem}; nothing was changed"])


def _with(text: str, wanted: Wanted) -> str:
    for keys, value in wanted.items():
        if value is None:
            text = document.drop(text, keys)
        elif document.lookup(document.load(text), keys) != (True, value):
            text = document.put(text, keys, value)
    return text


def _changes(now: Mapping[str, object], wanted: Wanted) -> list[Change]:
    """List what is done about each key, were it only to see to it that nothing is there."""
    looked = [Change(keys, *document.lookup(now, keys), value) for keys, value in wanted.items()]
    changes = [change for change in looked if change.was_there or change.after is not None]
    return changes if _ENV[0] in now else [*changes, Change(_ENV, was_there=False, before=None, after={})]


def _record(
    old: Record | None,
    stay: Iterable[Change],
    file: TextFile,
    *,
    after: str,
    changes: Iterable[Change],
    config: ConfigPlan | None,
    route: str,
) -> Record:
    """Describe this setup, and an older one with it: undo goes back to before the first."""
    made = textfile.missing_folder(file)
    if old is None:
        edit_ = None if config is None else Edit(str(config.file.path), config.file.text, config.after)
        released = () if config is None else config.released
        edited = Edit(str(file.path), file.text, after)
        return Record(edited, tuple(changes), edit_, released, made is not None, route=route, made=made)
    before, _ = record.undone_settings(old, file)
    released = tuple(dict.fromkeys((*old.released, *(config.released if config else ()))))
    return Record(
        Edit(str(file.path), before, after),
        record.merged(stay, changes),
        _config_edit(old, config),
        released,
        old.made_folder or made is not None,
        route=route,
        made=old.made or made,
    )


def _config_edit(old: Record, config: ConfigPlan | None) -> Edit | None:
    if config is None:
        return old.config
    before, _ = record.undone_config(old, config.file)
    return Edit(str(config.file.path), before, config.after)


def _replaced(now: Mapping[str, object], wanted: Wanted, ours: Iterable[Change]) -> tuple[str, ...]:
    """Name what a person would lose; a question is due then."""
    own, found = {change.keys: change.after for change in ours}, []
    for keys, value in wanted.items():
        there, present = document.lookup(now, keys)
        if not there or present == value or keys in _UNASKED or _is_own(keys, present, own):
            continue
        if len(keys) == 1 and not settings.is_ours(present):
            found.append(f"{keys[0]} is {settings.described(present)} now")
        elif len(keys) > 1:
            found.append(f"{keys[-1]} is {'another one' if value else 'set'} now")
    return tuple(found)


def _is_own(keys: Keys, present: object, own: Mapping[Keys, object]) -> bool:
    """Whether it is an earlier setup's; where requests go is a person's decision even so."""
    return keys in own and own[keys] == present and not keys[-1].endswith("_BASE_URL")


def _ours(old: Record | None, wanted: Wanted) -> list[tuple[Keys, object]]:
    """Say which values may be shown: those that are wanted now, or were before."""
    return [*((change.keys, change.after) for change in (old.changes if old else ())), *wanted.items()]


def _masked(text: str, ours: Iterable[tuple[Keys, object]]) -> str:
    """Hide every value but our own."""
    now, masked = document.load(text), document.mask(text)
    for keys, value in ours:
        if isinstance(value, str) and keys not in _UNSHOWN and document.lookup(now, keys) == (True, value):
            masked = document.put(masked, keys, value)
    return masked


def _diff(before: str, after: str, path: Path) -> str:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), str(path), str(path), lineterm="", n=2)
    return "".join(f"{line}\n" for line in lines)
