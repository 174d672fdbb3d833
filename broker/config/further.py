"""What a table's own rules would say next: a settings class stops at the first, and says nothing while a key is wrong.

So they are asked again without the keys that are wrong, until nothing new is named.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, fields
from typing import Any, Final

from cattrs.errors import AttributeValidationNote, BaseValidationError, ForbiddenExtraKeysError

from broker.sources.interface import Problems

_STAND_IN: Final = "x"
"""For a text that cannot be left out. What is then said of it is no news: its key counts as wrong."""


def problems(
    error: BaseValidationError, table: Mapping[str, Any], cls: type, make: Callable[[Mapping[str, Any]], object]
) -> list[Exception]:
    """Give the rules' errors that `error`, of making a `cls` of the table, hides. `make` does that again.

    One that names a key known to be wrong may only follow from that, and is left out.
    """
    found: list[Exception] = []
    wrong: set[str] = set()
    while new := set().union(*(_named(inner, cls) for inner in error.exceptions)) - wrong:
        wrong |= new
        try:
            make(_without(wrong, table, cls))
        except BaseValidationError as next_error:
            error = next_error
            found += [rule for rule in _rules(error) if not _named(rule, cls) & wrong]
        else:
            break
    return found


def note_of(error: Exception) -> AttributeValidationNote | None:
    """Find what cattrs (or a list's hook) noted: which key or item the error is about."""
    notes = getattr(error, "__notes__", ())
    return next((note for note in notes if isinstance(note, AttributeValidationNote)), None)


def _rules(error: BaseValidationError) -> Iterator[Exception]:
    for inner in error.exceptions:
        if isinstance(inner, Problems):
            yield from map(ValueError, inner.each)
        elif _is_rule(inner):
            yield inner


def _is_rule(error: Exception) -> bool:
    """Whether a `__post_init__` raised it."""
    return isinstance(error, ValueError) and note_of(error) is None


def _named(error: Exception, cls: Any) -> set[str]:  # noqa: ANN401  # a dataclass
    """Give the keys that an error is about; of an unknown one also the key that was probably meant."""
    known = [field.name for field in fields(cls)]
    if (note := note_of(error)) is not None:
        return {note.name}
    if isinstance(error, ForbiddenExtraKeysError):
        return {*error.extra_fields, *(near for key in error.extra_fields for near in _meant(key, known))}
    return set(re.findall(r"\w+", str(error))) & set(known) if _is_rule(error) else set()


def _meant(key: str, known: Iterable[str]) -> list[str]:
    return difflib.get_close_matches(key[:100], list(known), n=1)


def _without(wrong: set[str], table: Mapping[str, Any], cls: Any) -> dict[str, Any]:  # noqa: ANN401  # a dataclass
    rest = {key: value for key, value in table.items() if key not in wrong}
    return {field.name: _STAND_IN for field in fields(cls) if field.name in wrong and _is_needed_text(field)} | rest


def _is_needed_text(field: Field[Any]) -> bool:
    return field.type == "str" and field.default is MISSING and field.default_factory is MISSING
