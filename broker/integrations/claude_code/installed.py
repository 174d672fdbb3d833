"""Which Claude Code is installed, told by its files alone: running what PATH names could run what a project put there."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Final

from broker.integrations import textfile
from broker.integrations.textfile import FileProblem

Version = tuple[int, int, int]

_PROGRAM: Final = "claude"
_VERSION: Final = re.compile(r"(\d{1,6})\.(\d{1,6})\.(\d{1,6})", re.ASCII)
_PACKAGE: Final = "@anthropic-ai/claude-code"
_FOLDERS_UP: Final = 3


def find(search_path: str) -> Path | None:
    """Find it in PATH; only by absolute folders, since a relative one is the project's."""
    for folder in search_path.split(os.pathsep):
        path = Path(folder, _PROGRAM)
        # access(2) first: `is_file` raises where we may not even look, as in root's folders of a PATH kept by sudo.
        if folder.startswith("/") and os.access(path, os.X_OK) and path.is_file():
            return path
    return None


def version(claude: Path) -> Version | None:
    """Tell its version; None where its files do not say.

    The native installer keeps each version under its number, npm has a package.json above the program.
    """
    real = Path(os.path.realpath(claude))
    if match := _VERSION.fullmatch(real.name):
        return _numbers(match)
    for folder in list(real.parents)[:_FOLDERS_UP]:
        if match := _VERSION.fullmatch(_packaged(folder / "package.json")):
            return _numbers(match)
    return None


def _packaged(path: Path) -> str:
    """Return the version that a package.json of Claude Code's states; empty for any other file."""
    with suppress(FileProblem, ValueError, RecursionError):
        package = json.loads(textfile.read(path).text or "{}")
        if isinstance(package, dict) and str(package.get("name", "")).startswith(_PACKAGE):
            return str(package.get("version", ""))
    return ""


def _numbers(match: re.Match[str]) -> Version:
    return int(match[1]), int(match[2]), int(match[3])
