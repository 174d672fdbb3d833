"""Reading JSON strictly: what two parsers could read in two ways is refused.

Claude Code's own reader is more lenient (2.1.330 takes a byte-order mark, UTF-16, 100,000 levels of nesting), so
what is not plain here may still say something there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import chain
from typing import Any, Final, NoReturn

SIZE_MAX: Final = 1 << 20
"""Bytes of a settings file; a larger one is refused unread."""

DEPTH_MAX: Final = 64
"""Levels of nesting."""

SEPARATORS_MAX: Final = 1 << 14
"""Commas and opening brackets, in texts too: so many values at most. Reading holds the interpreter's lock, and a
project's file of a million values would hold up every other caller for 0.3 s, at each change of it."""

DIGITS_MAX: Final = 64
"""Digits of a whole number; for thousands of them Python takes long, and JavaScript says Infinity."""

_BLANKS: Final = " \t\r\n"
"""JSON's own; not what else a language strips."""

_TOO_DEEP: Final = f"is nested deeper than {DEPTH_MAX} levels"


class NotStrict(ValueError):
    """The content is not plain JSON; the message says why, in words that follow the path."""


def parse(content: bytes) -> Mapping[str, object]:
    """Return the object that a settings file holds. Raises `NotStrict`."""
    if len(content) > SIZE_MAX:
        raise NotStrict("is larger than 1 MiB")
    if sum(map(content.count, (b",", b"[", b"{"))) > SEPARATORS_MAX:
        raise NotStrict(f"has more than {SEPARATORS_MAX} commas and brackets")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise NotStrict("is not UTF-8") from None
    if text.startswith("\N{BOM}"):
        raise NotStrict("begins with a byte-order mark")
    if not text.strip(_BLANKS):
        return {}  # it sets nothing, and no reader can find something in it; the real Claude Code agrees (the table)
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_int=_whole, parse_constant=_no_constant)
    except NotStrict:
        raise
    except RecursionError:
        raise NotStrict(_TOO_DEEP) from None
    except ValueError:
        raise NotStrict("is not valid JSON") from None
    if not isinstance(value, dict):
        raise NotStrict("is not a JSON object")
    _bound_depth(value)
    return value


def _bound_depth(value: object) -> None:
    level = [value]
    for _ in range(DEPTH_MAX):
        inner = [part.values() if isinstance(part, dict) else part for part in level if isinstance(part, (dict, list))]
        level = list(chain.from_iterable(inner))
        if not level:
            return
    raise NotStrict(_TOO_DEEP)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise NotStrict("has a key twice")
    return made


def _whole(digits: str) -> int:
    if len(digits) > DIGITS_MAX:
        raise NotStrict(f"has a number of more than {DIGITS_MAX} digits")
    return int(digits)


def _no_constant(name: str) -> NoReturn:
    raise NotStrict(f"has {name}, which JSON does not know")
