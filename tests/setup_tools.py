"""Other people's Python programs for the tests, each in an environment of its own: they ask for versions that clash.

Standard library only.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.setup_python import have_ensurepip

TOOLS: Final = {
    "aws": ("awscli>=1.40",),
    "litellm": ("litellm[proxy]>=1.80", "google-auth>=2.40", "requests>=2.32"),  # the two for its way to Vertex AI
}
"""Each program by what pip installs for it."""

_CACHE: Final = Path(__file__).resolve().parent.parent / ".cache" / "tools"


def program(name: str) -> Path:
    """Name the executable of one; it is there once `prepare` was called."""
    return _CACHE / name / "bin" / name


def prepare() -> None:
    """Install those that are not there yet, LiteLLM with some 500 MB.

    Raises `MissingPart` where environments cannot be made, and `subprocess.CalledProcessError` when pip fails.
    """
    for name, wanted in TOOLS.items():
        if not _stamp(name).exists() or _stamp(name).read_text() != "\n".join(wanted):
            _install(name, wanted)


def installed(name: str, wanted: str) -> Path:
    """Name the executable of a program that only a measurement compares with, installed at its first use."""
    if not _stamp(name).exists():
        _install(name, (wanted,))
    return program(name)


def _install(name: str, wanted: Sequence[str]) -> None:
    have_ensurepip()
    folder = _CACHE / name
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "-qq"]
    subprocess.run([*pip, *wanted], stdin=subprocess.DEVNULL, check=True)
    _stamp(name).write_text("\n".join(wanted))


def _stamp(name: str) -> Path:
    return _CACHE / name / "installed"
