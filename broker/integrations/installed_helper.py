"""Which `broker-helper` is installed beside this program."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

_NATIVE: Final = (b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
"""How executables of Linux and macOS begin."""


def path() -> Path:
    """Where the helper is: in the folder of this interpreter's scripts."""
    return Path(sys.executable).parent / "broker-helper"


def kind(helper: Path) -> str:
    """Tell `native`, `python` or `missing` by the file's first bytes."""
    try:
        with helper.open("rb") as file:
            start = file.read(4)
    except OSError:
        return "missing"
    return "native" if start in _NATIVE else "python"
