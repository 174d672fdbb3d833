"""Reading JSON strictly: what two parsers could read in two ways is refused.

Claude Code's own reader is more lenient (FACTS: it takes a byte-order mark, UTF-16, 100,000 levels of nesting), so
what is not plain here may still say something there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NoReturn

SIZE_MAX: Final = 1 << 20
"""Bytes of a settings file; a larger one is refused unread."""

DEPTH_MAX: Final = 64
"""Levels of nesting."""


class NotStrict(ValueError):
    """The content is not plain JSON; the message says why, in words that follow the path."""


def parse(content: bytes) -> Mapping[str, object]:
    """Return the object that a settings file holds. Raises `NotStrict`."""
    if len(content) > SIZE_MAX:
        raise NotStrict("is larger than 1 MiB")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise NotStrict("is not UTF-8") from None
    if text.startswith("\N{BOM}"):
        raise NotStrict("begins with a byte-order mark")
    _bound_depth(text)
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (json.JSONDecodeError, RecursionError, ValueError) as error:
        if isinstance(error, NotStrict):
            raise
        raise NotStrict("is not valid JSON") from None
    if not isinstance(value, dict):
        raise NotStrict("is not a JSON object")
    return value


def _bound_depth(text: str) -> None:
    """Refuse deep nesting before the parser recurses into it. Counts brackets in strings too, which can only refuse more."""
    depth = 0
    for character in text:
        if character in "{[":
            depth += 1
            if depth > DEPTH_MAX:
                raise NotStrict(f"is nested deeper than {DEPTH_MAX} levels")
        elif character in "}]":
            depth -= 1


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise NotStrict("has a key twice")
    return made


def _no_constant(name: str) -> NoReturn:
    raise NotStrict(f"has {name}, which JSON does not know")
