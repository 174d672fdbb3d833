"""A figure that was asked for, what was reached, and the table that tells."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table: `reached` must be at most `limit` (or at least, where more is better).

    `unit` is "x" for a ratio of two things measured in the same run; `detail` gives the numbers behind it. Without a
    `limit` nothing was asked: the line is there to be known.
    """

    what: str
    reached: float
    limit: float | None = None
    unit: str = "x"
    at_least: bool = False
    detail: str = ""

    @property
    def holds(self) -> bool:
        """Whether what was asked is reached."""
        if self.limit is None:
            return True
        return self.reached >= self.limit if self.at_least else self.reached <= self.limit

    @property
    def cells(self) -> tuple[str, ...]:
        """The line's columns as text."""
        asked = f"{'>=' if self.at_least else '<='} {self.limit:g} {self.unit}" if self.limit is not None else ""
        verdict = ("ok" if self.holds else "MISSED") if self.limit is not None else ""
        return self.what, asked, f"{self.reached:.{_decimals(self.unit)}f} {self.unit}", verdict, self.detail


def show(figures: Iterable[Figure]) -> int:
    """Print the table; return the exit code: 1 where a figure is missed."""
    found = list(figures)
    lines = [("figure", "asked", "reached", "", "measured"), *(figure.cells for figure in found)]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    print(f"on {os.cpu_count()} cores, {os.getloadavg()[0]:.1f} other work in the last minute (ours included)")
    return 0 if all(figure.holds for figure in found) else 1


def _decimals(unit: str) -> int:
    return {"x": 2, "MB": 1}.get(unit, 0)
