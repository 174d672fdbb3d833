"""What the commands share in what they print: spans of time, safe text, for a person or a program."""

from __future__ import annotations

import os
import sys
from typing import Final

import click

_UNITS: Final = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def span(seconds: float) -> str:
    """Write a span of time in its two largest units: `1h 5m`, `42m`, `8s`; less than a second is `0s`."""
    whole = max(0, int(seconds))
    for position, (unit, size) in enumerate(_UNITS):
        if whole >= size:
            count, rest = divmod(whole, size)
            if position + 1 < len(_UNITS) and count < 10:  # noqa: PLR2004  # `3h 5m`, but `42m`
                next_unit, next_size = _UNITS[position + 1]
                if rest // next_size:
                    return f"{count}{unit} {rest // next_size}{next_unit}"
            return f"{count}{unit}"
    return "0s"


def printable(text: str) -> str:
    """Replace what is not printable: a source's error text must not steer the terminal."""
    return "".join(char if char.isprintable() else "�" for char in text)


def warn(message: str) -> None:
    """Say on stderr, in one line, what is wrong though the command did its work."""
    click.echo(f"broker: warning: {printable(message)}", err=True)


def separator() -> str:
    """Give what stands between the words of a line: a dot where stdout can say one."""
    return " · " if "utf" in (sys.stdout.encoding or "").lower() else ", "


def on_terminal() -> bool:
    """Whether stdout is a terminal that can place a cursor."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
