"""TOML, with syntax errors that name the place and quote nothing."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Final

from broker.errors import ConfigError

_HARMLESS_REASON: Final = re.compile(r"[A-Za-z /-]*(?:'[^']{1,2}'[A-Za-z /-]*)?")
"""What tomllib says without quoting more of the file than one character."""

_TWICE: Final = ("Cannot declare", "Cannot overwrite", "Cannot mutate", "Cannot redefine", "Duplicate")
"""How tomllib begins what it says of a table or key that is there already, as after a block was pasted twice."""


def load(text: str, path: Path) -> dict[str, Any]:
    """Parse the text; raise `ConfigError` with file, line and column."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{path}: {_syntax_problem(error)}"]) from None
    except (ValueError, RecursionError):  # a number of thousands of digits, or nesting without end
        raise ConfigError([f"{path}: not valid TOML: a number too long, or tables nested too deep"]) from None


def _syntax_problem(error: tomllib.TOMLDecodeError) -> str:
    """Say where, and why as far as the parser's words quote nothing of the file."""
    message = str(error)
    found = re.search(r"\(at line (\d+), column (\d+)\)", message)
    where = f"line {found[1]}, column {found[2]}" if found else "end of the file"
    reason = message.split(" (at ", maxsplit=1)[0]
    if reason.startswith(_TWICE):
        reason = "this table or key is there already"
    return f"{where}: not valid TOML" + (f": {reason}" if _HARMLESS_REASON.fullmatch(reason) else "")
