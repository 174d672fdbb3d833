"""A setup taken back: exactly, where nobody else wrote the files since, else as far as it is certain what was ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from broker.integrations import textfile
from broker.integrations.claude_code import record
from broker.integrations.claude_code.record import Record
from broker.integrations.textfile import TextFile
from broker.paths import private_folder


@dataclass(frozen=True, slots=True)
class Undo:
    """What taking a setup back changes. `left`: what has to stay, and why."""

    file: TextFile
    before: str | None
    config: TextFile | None
    config_before: str | None
    record: Record
    record_path: Path
    left: tuple[str, ...]

    @property
    def removes_config(self) -> bool:
        """Whether our config goes away, since the setup had made it."""
        return self.config is not None and self.config_before is None

    def describe(self) -> list[str]:
        """Say of each file what becomes of it."""
        lines = [_becomes(self.file, self.before, self.record.settings.before)]
        if self.config is not None and self.record.config is not None:
            lines.append(_becomes(self.config, self.config_before, self.record.config.before))
        return lines


def plan(file: TextFile, state: Path) -> Undo | None:
    """Work out what takes the setup of this settings file back; None where none was recorded.

    Raises `ConfigError`, `FileProblem`.
    """
    path = record.path_for(file.target, state)
    kept = record.load(path)
    if kept is None:
        return None
    before, left = record.undone_settings(kept, file)
    config = None if kept.config is None else textfile.read(Path(kept.config.path))
    config_before, config_left = (None, []) if config is None else record.undone_config(kept, config)
    for changed, text in ((file, before), (config, config_before)):
        if changed is not None and changed.text != text:
            textfile.check_replaceable(changed)
    return Undo(file, before, config, config_before, kept, path, (*left, *config_left))


def apply(undo: Undo, config_changed: Callable[[], None]) -> None:
    """Take it back, Claude Code's settings first. Raises `FileProblem`, `ChangedMeanwhile`; may be run again."""
    with textfile.only_one(private_folder(undo.record_path.parent)):
        for file in filter(None, (undo.file, undo.config)):
            textfile.sweep(file)
        if undo.file.text != undo.before:
            textfile.replace(undo.file, undo.before)
        if undo.record.made_folder and undo.before is None:
            textfile.remove_folders(undo.file, undo.record.made or str(undo.file.target.parent))
        if undo.config is not None and undo.config.text != undo.config_before:
            textfile.replace(undo.config, undo.config_before)
            config_changed()
        undo.record_path.unlink(missing_ok=True)


def _becomes(file: TextFile, text: str | None, before: str | None) -> str:
    if file.text == text:
        return f"{file.path}: nothing of ours is in it"
    if text is None:
        return f"{file.path}: removed, as before"
    return f"{file.path}: {'as before' if text == before else 'without what we wrote'}"
