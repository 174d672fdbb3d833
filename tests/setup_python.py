"""The virtual environment that the tests run in: the project with its `test` extra. Standard library only."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.setup_debian import MissingPart, can_install, install

ROOT: Final = Path(__file__).resolve().parent.parent
VENV: Final = ROOT / ".venv-test"
BIN: Final = VENV / "bin"

_STAMP: Final = VENV / "installed-from"


def prepare(*, native_helper: bool) -> None:
    """Make the environment and install the project into it; do nothing where what it was made from is unchanged.

    Editable, so that coverage finds `broker` in one place, whoever runs it. `native_helper`: a machine without a
    working C compiler is an error then, instead of getting the Python helper. Raises `MissingPart`, and
    `subprocess.CalledProcessError` when pip fails.
    """
    made_from = _fingerprint()
    if _STAMP.exists() and _STAMP.read_text() == made_from:
        return
    have_ensurepip()
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True)
    env = dict(os.environ) | ({"BROKER_HELPER": "native"} if native_helper else {})
    pip = [str(BIN / "python"), "-m", "pip", "--disable-pip-version-check", "install", "-qq"]
    subprocess.run([*pip, "--editable", f"{ROOT}[test]"], env=env, stdin=subprocess.DEVNULL, check=True)
    _STAMP.write_text(made_from)


def have_ensurepip() -> None:
    """Debian splits it off its Python."""
    if importlib.util.find_spec("ensurepip") is not None:
        return
    package = f"python3.{sys.version_info.minor}-venv"
    if not can_install():
        raise MissingPart(f"this Python cannot make virtual environments; run: apt-get install {package}")
    install([package])


def _fingerprint() -> str:
    """Hash all that decides what an installation looks like, and the Python that it is made with."""
    digest = hashlib.sha256(f"{sys.version} {sys.executable}".encode())
    for file in [ROOT / "pyproject.toml", ROOT / "broker" / "__init__.py", *sorted((ROOT / "helper").glob("*.*"))]:
        digest.update(file.read_bytes())
    return digest.hexdigest()
