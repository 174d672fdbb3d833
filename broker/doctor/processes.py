"""Which Claude Codes of this user's run, and since when."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_NAMES: Final = frozenset({"claude", "claude.exe"})
_PROC: Final = Path("/proc")
_STARTED: Final = 19
"""Where the start stands in `stat`, counted from behind the program's name (proc(5): field 22)."""


@dataclass(frozen=True, slots=True)
class Running:
    """One of them; `started` in epoch seconds, to the second or so."""

    pid: int
    started: float


def claude_codes() -> Iterator[Running]:
    """Find them where there is a /proc; nothing is found elsewhere."""
    boot = _boot()
    if boot is None:
        return
    for folder in _PROC.iterdir():
        with suppress(OSError, ValueError, IndexError):
            if folder.name.isdigit() and folder.stat().st_uid == os.geteuid():
                name, _, fields = (folder / "stat").read_text().partition("(")[2].rpartition(")")
                if name in _NAMES:
                    ticks = int(fields.split()[_STARTED])
                    yield Running(int(folder.name), boot + ticks / os.sysconf("SC_CLK_TCK"))


def _boot() -> float | None:
    with suppress(OSError, ValueError, StopIteration):
        lines = (_PROC / "stat").read_text().splitlines()
        return float(next(line for line in lines if line.startswith("btime ")).split()[1])
    return None
