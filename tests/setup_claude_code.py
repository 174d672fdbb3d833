"""Real Claude Code for the tests: which versions, where they are kept, how they get there. Standard library only."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

from tests.setup_debian import MissingPart

PACKAGE: Final = "@anthropic-ai/claude-code"
OLDER: Final = "2.1.197"
"""Shows a 403 to the user, and gives up on a 401 after three tries."""
NEWER: Final = "2.1.330"
"""Runs the helper again after a 403 too. Its manifest asks for a newer node than it needs: it is a native binary."""
VERSIONS: Final = (OLDER, NEWER)

_CACHE: Final = Path(__file__).resolve().parent.parent / ".cache" / "claude-code"


def binary(version: str) -> Path:
    """Name the executable of one version; it is there once `prepare` was called."""
    return _CACHE / version / "node_modules" / ".bin" / "claude"


def prepare() -> None:
    """Fetch the versions that are not there yet, about 235 MB each.

    Raises `MissingPart` without npm and `subprocess.CalledProcessError` when npm fails.
    """
    absent = [version for version in VERSIONS if not binary(version).exists()]
    if absent and shutil.which("npm") is None:
        raise MissingPart("the tests on Claude Code need npm; on Debian, as root: apt-get install nodejs npm")
    for version in absent:
        _install(version)


def _install(version: str) -> None:
    partial = _CACHE / f"{version}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    quiet = ["--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"]
    subprocess.run(["npm", "install", *quiet, "--prefix", str(partial), f"{PACKAGE}@{version}"], check=True)
    partial.rename(_CACHE / version)  # complete or absent: a run that was interrupted leaves nothing half done
