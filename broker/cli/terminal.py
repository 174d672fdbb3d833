"""Stdout as rich draws on it, for every command that draws tables; imported only by those that do."""

from __future__ import annotations

import sys
from typing import Final

from rich.console import Console, RenderableType

from broker.cli import output

NO_LIMIT: Final = 100_000
"""Columns enough for everything: a pipe has them, and nothing is wrapped there."""


def stdout() -> Console:
    """Take stdout as rich sees it, without animation or colour to a pipe whatever FORCE_COLOR says."""
    terminal = output.on_terminal()
    width = None if terminal else NO_LIMIT
    return Console(file=sys.stdout, force_terminal=terminal, width=width, highlight=False, markup=False, emoji=False)


def rendered(drawing: RenderableType, console: Console) -> str:
    """Render for this console, without the blanks that fill up a last column."""
    with console.capture() as capture:
        console.print(drawing)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())
