"""A row of the table on the disk, and what is known of a Claude Code that works there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from broker.engine.destination import Known, Repository, Scope, SettingsFile, main_checkout, project_files
from broker.engine.destination.places import OddPointer, git_folder
from tests.engine.steering import LOCAL, SETTINGS, Row, fill, filled


@dataclass(frozen=True, slots=True)
class Settled:
    """One row's files, written out in `at`."""

    row: Row
    at: Path
    places: dict[str, str]

    @property
    def folder(self) -> Path:
        """Where Claude Code works."""
        return self.at / self.row.folder

    @property
    def env(self) -> dict[str, str]:
        """What the row says of its environment."""
        return dict(filled(self.row.env, self.places))

    @property
    def arguments(self) -> list[str]:
        """What the row adds to its command line."""
        return list(filled(self.row.arguments, self.places))

    def known(self) -> Known:
        """Find out what the guard's shell would tell the rules."""
        argv = ("claude", "-p", "say pong", *self.arguments, "--dangerously-skip-permissions")
        return Known(str(self.folder), tuple(self._files()), initial=self.env, arguments=argv)

    def _files(self) -> Iterator[SettingsFile]:
        home = self.at / "home/.claude"
        try:
            repository = self._repository()
        except OddPointer as odd:
            repository = None
            yield SettingsFile.unreadable(str(self.folder / ".git"), Scope.PROJECT, str(odd))
        for path in project_files(str(self.folder), repository, str(home)):
            yield from _read(Path(path), Scope.PROJECT)
        yield from _read(home / "settings.json", Scope.USER)
        yield from _read(self.folder / "f.json", Scope.FLAG) if "f.json" in self.row.arguments else ()

    def _repository(self) -> Repository | None:
        for root in (self.folder, *self.folder.parents):
            if (root / ".git").is_dir():
                return Repository(str(root))
            if (root / ".git").is_file():
                pointer = (root / ".git").read_bytes()
                common = Path(git_folder(str(root), pointer) or root) / "commondir"
                main = main_checkout(str(root), pointer, common.read_bytes()) if common.exists() else None
                return Repository(str(root), main)
        return None


def settle(row: Row, at: Path, places: dict[str, str], user: dict[str, object]) -> Settled:
    """Write a row's files out in the empty folder `at`; `user` is what the user's settings hold besides its `env`."""
    settled = Settled(row, at, places | {"dir": str(at)})
    _write(at / "home" / SETTINGS, json.dumps(user | {"env": filled(row.user, settled.places)}).encode())
    settled.folder.mkdir(parents=True, exist_ok=True)
    for path, content in row.files.items():
        text = fill(content, settled.places)
        _write(at / path, row.written(text) if path.endswith((SETTINGS, LOCAL)) else text.encode())
    for path, target in row.links.items():
        (at / path).parent.mkdir(parents=True, exist_ok=True)
        (at / path).symlink_to(at / target)
    return settled


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _read(path: Path, scope: Scope) -> Iterator[SettingsFile]:
    if not path.exists():
        return
    if path != path.resolve():
        yield SettingsFile.unreadable(str(path), scope, "is reached by a symbolic link")
    else:
        yield SettingsFile.read(str(path), scope, path.read_bytes())
