"""What a setup changed, kept in the state folder so that it can be taken back after any crash.

Written before the first change: whatever point a setup was stopped at, each file is as it was before, as it was meant
to become, or as a person made it since, and `undone_settings` tells these apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from broker.config.edit import remove_audience
from broker.errors import ConfigError
from broker.integrations import setup_records
from broker.integrations.claude_code import document
from broker.integrations.textfile import TextFile

VERSION: Final = 1

_ENV: Final = ("env",)


@dataclass(frozen=True, slots=True)
class Change:
    """One value in the settings: whether it was there and what it was (`before`), and what it became.

    `after` None: it was taken out. (We write texts only, so a null of JSON is never ours.)
    """

    keys: tuple[str, ...]
    was_there: bool
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Edit:
    """One file's whole text before and after; None where there was no file."""

    path: str
    before: str | None
    after: str | None

    def exact(self, now: str | None) -> bool:
        """Whether nobody but us wrote the file: then its old bytes can be put back."""
        return now in (self.before, self.after)


@dataclass(frozen=True, slots=True)
class Record:
    """One settings file that was set up. `released`: the URLs that were added to a credential's audience.

    `made_folder`: the settings had none before; `made`: the topmost of those that were made. `route`: the name of the last setup's (see `routes`).
    """

    settings: Edit
    changes: tuple[Change, ...]
    config: Edit | None
    released: tuple[tuple[str, str], ...]
    made_folder: bool
    version: int = VERSION
    route: str = "anthropic"
    made: str | None = None


def path_for(settings: Path, state: Path) -> Path:
    """Name the record of the setup in this settings file."""
    return setup_records.path_for(state, "claude-code", str(settings))


def load(path: Path) -> Record | None:
    """Read a record; None where there is none. Raises `ConfigError`, `FileProblem`."""
    return setup_records.load(path, Record, VERSION)


def undone_settings(record: Record, file: TextFile) -> tuple[str | None, list[str]]:
    """Return the text without what we did, and what cannot be taken back. Raises `ConfigError`."""
    if record.settings.exact(file.text):
        return record.settings.before, []
    if file.text is None:
        return None, [f"{file.path} is gone"]
    text, left = file.text, []
    try:
        for change in record.changes:
            text, kept = _undo(text, change)
            left += [f"{'.'.join(change.keys)} in {file.path} was changed since, and stays"] if kept else []
        is_bare = record.settings.before is None and not document.load(text)
    except document.NotEditable as problem:
        raise ConfigError([f"{file.path}: {problem}; nothing was changed"]) from None
    return None if is_bare else text, left


def undone_config(record: Record, file: TextFile) -> tuple[str | None, list[str]]:
    """The same for our config. Raises `ConfigError`."""
    edit = record.config
    if edit is None or edit.path != str(file.path):
        return file.text, []
    if edit.exact(file.text):
        return edit.before, []
    if file.text is None:
        return None, [f"{file.path} is gone"]
    text = file.text
    for credential, url in record.released:
        text = remove_audience(text, file.path, credential, url)
    added = _credentials(edit.after) - _credentials(edit.before)
    return text, [f"{file.path} was changed since, so [credentials.{name}] stays in it" for name in sorted(added)]


def merged(old: Iterable[Change], new: Iterable[Change]) -> tuple[Change, ...]:
    """Join the changes of two setups: what the first one found there is what undo goes back to."""
    first = {change.keys: change for change in old}
    both = dict(first)
    for change in new:
        past = first.get(change.keys)
        ours = past is not None and (change.was_there, change.before) == (past.after is not None, past.after)
        kept = past if ours and past is not None else change
        both[change.keys] = Change(change.keys, kept.was_there, kept.before, change.after)
    return tuple(both[keys] for keys in sorted(both, key=len, reverse=True))  # `env` itself after what is in it


def taken_back(record: Record, text: str, wanted: Iterable[tuple[str, ...]]) -> tuple[str, tuple[Change, ...]]:
    """Undo what an earlier setup did and another does not want; return the changes that stay. Raises `NotEditable`.

    What was changed since stays too. The `env` object stays even if that empties it: the other one fills it.
    """
    wanted, stay = set(wanted), []
    for change in record.changes:
        if change.keys in wanted or change.keys == _ENV:
            stay.append(change)
            continue
        text, kept = _undo(text, change)
        stay += [change] if kept else []
    return text, tuple(stay)


def _undo(text: str, change: Change) -> tuple[str, bool]:
    """Take one change back; tell whether somebody made another one since."""
    there, now = document.lookup(document.load(text), change.keys)
    if (there, now) == (change.was_there, change.before):
        return text, False
    if not there:  # a person took it out; where that was us, it comes back
        return (document.put(text, change.keys, change.before), False) if change.after is None else (text, False)
    if now != change.after:
        return text, len(change.keys) > 1 or not isinstance(now, dict)
    if change.was_there:
        return document.put(text, change.keys, change.before), False
    return document.drop(text, change.keys), False


def _credentials(text: str | None) -> set[str]:
    import tomllib  # noqa: PLC0415  # only where a config was edited

    return set(tomllib.loads(text or "").get("credentials", {}))
