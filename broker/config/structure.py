"""Tables into frozen dataclasses, by their annotations: strict, and with every problem at once.

cattrs does the walking; what is added here is strictness (it would make text of a number) and messages that
name the place and never the value.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin

from cattrs import Converter
from cattrs.errors import (
    AttributeValidationNote,
    BaseValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
)
from cattrs.gen import make_dict_structure_fn

from broker import audience, durations
from broker.config import further
from broker.config.further import note_of
from broker.config.wording import (
    A_REFERENCE,
    NAME_ITS_PLACE,
    Problem,
    not_one_of,
    one_of,
    place,
    unknown_key,
    wrong_type,
)
from broker.durations import Duration
from broker.sources.interface import Problems, SecretPlace, Variants

T = TypeVar("T")
Hook = Callable[[Any, Any], Any]

_EXPECTED: dict[Any, str] = {
    str: "text",
    bool: "true or false",
    int: "an integer",
    float: "a number",
    Duration: durations.EXPECTED,
}

_SHORT_MAX = 100_000
"""A bare number above this is not repeated in a suggestion: it may be a PIN or worse."""


class Reader:
    """Collects problems as lines "FILE: KEY.PATH: what was expected", over as many tables as one likes."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.problems: list[str] = []

    def report(self, keys: tuple[str, ...], problem: str) -> None:
        """Note one problem at a key path."""
        where = f"{place(*keys)}: " if keys else ""
        self.problems.append(f"{self._prefix}: {where}{problem}")

    def structure(self, table: object, cls: type[T], *keys: str, also: frozenset[str] = frozenset()) -> T | None:
        """Make a `cls` of a table, or note why not and return None. `also` are keys known but not of `cls`."""
        try:
            return _CONVERTER.structure(table, cls)
        except Exception as error:  # noqa: BLE001  # cattrs raises a group, or whatever a hook raises
            for path, problem in _flatten(error, keys, also):
                self.report(path, problem)
            return None


def _flatten(error: Exception, keys: tuple[str, ...], also: frozenset[str]) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(error, IterableValidationError):
        for inner in error.exceptions:
            yield from ((path, f"item {_item(inner)}: {problem}") for path, problem in _flatten(inner, keys, also))
    elif isinstance(error, BaseValidationError):
        for inner in error.exceptions:
            note = note_of(inner)
            yield from (
                _flatten(inner, (*keys, note.name), frozenset()) if note is not None else _flatten(inner, keys, also)
            )
    elif isinstance(error, ForbiddenExtraKeysError):
        known = {field.name for field in dataclasses.fields(error.cl)} | also
        yield from (((*keys, key), unknown_key(key, known)) for key in sorted(error.extra_fields))
    elif isinstance(error, KeyError):
        yield keys, f"missing; expected {_expected(note.type) if (note := note_of(error)) is not None else 'it'}"
    elif isinstance(error, Problems):
        yield from ((keys, each) for each in error.each)
    elif isinstance(error, ValueError):  # ours, or a `__post_init__`'s, which quotes no value either
        yield keys, str(error)
    else:  # a bug in a hook or settings class: its text could quote the value
        yield keys, f"cannot be used ({type(error).__name__})"


def _item(error: Exception) -> str:
    note = note_of(error)
    return "?" if note is None else note.name


def _expected(type_: object) -> str:
    if isinstance(type_, type) and issubclass(type_, SecretPlace):
        return A_REFERENCE
    return next(
        (words for known, words in _EXPECTED.items() if type_ is known), "a list" if _is_list(type_) else "a value"
    )


def _strict(cls: type) -> Hook:
    def hook(value: Any, _type: Any) -> Any:  # noqa: ANN401  # cattrs' signature
        if type(value) is not cls:  # so that True is no integer
            raise wrong_type(_EXPECTED[cls], value)
        return value

    return hook


def _number(value: Any, _type: Any) -> float:  # noqa: ANN401  # cattrs' signature
    if type(value) not in {int, float}:
        raise wrong_type(_EXPECTED[float], value)
    try:
        return float(value)
    except OverflowError:
        raise Problem("expected a smaller number") from None


def _duration(value: Any, _type: Any) -> Duration:  # noqa: ANN401  # cattrs' signature
    if type(value) is str:
        return durations.parse(value)
    problem = wrong_type(durations.EXPECTED, value)
    if type(value) is int and 0 < value <= _SHORT_MAX:
        raise Problem(f'{problem}; did you mean "{value}s"?')
    raise problem


def _base_url(value: Any, _type: Any) -> audience.BaseURL:  # noqa: ANN401  # cattrs' signature
    if type(value) is not str:
        raise wrong_type(_EXPECTED[str], value)
    if (problem := audience.problem(value)) is not None:
        raise Problem(problem)
    return audience.BaseURL(value)


def _table(cls: type, converter: Converter) -> Hook:
    # forbid_extra_keys is given twice: cattrs does not inherit it here
    fill: Hook = make_dict_structure_fn(
        cls, converter, _cattrs_forbid_extra_keys=True, _cattrs_detailed_validation=True
    )

    expected = A_REFERENCE if issubclass(cls, SecretPlace) else "a table"

    def hook(value: Any, type_: Any) -> Any:  # noqa: ANN401  # cattrs' signature
        if isinstance(value, str) and issubclass(cls, SecretPlace):
            raise Problem(NAME_ITS_PLACE)
        if not isinstance(value, Mapping):
            raise wrong_type(expected, value)
        try:
            return fill(value, type_)
        except BaseValidationError as error:
            hidden = further.problems(error, value, cls, lambda rest: fill(rest, type_))
            raise error.derive([*error.exceptions, *hidden]) from None

    return hook


def _variant(cls: type[Variants], converter: Converter) -> Hook:
    """Let one key of the table pick the class that the other keys make."""
    variants, pick = cls.variants(), _word(Literal[*cls.variants()], converter)

    def hook(value: Any, _type: Any) -> Any:  # noqa: ANN401  # cattrs' signature
        if not isinstance(value, Mapping):
            raise wrong_type(f"a table with {cls.tag} = ...", value)
        if cls.tag not in value:
            raise Problem(f"{cls.tag} is missing; expected one of {one_of(variants)}")
        try:
            picked = variants[pick(value[cls.tag], None)]
        except Problem as problem:
            raise Problem(f"{cls.tag}: {problem}") from None
        return converter.structure({key: value[key] for key in value if key != cls.tag}, picked)

    return hook


def _list(cls: Any, converter: Converter) -> Hook:  # noqa: ANN401  # tuple[X, ...] is no type
    item_type = get_args(cls)[0]
    item_hook = converter.get_structure_hook(item_type)

    def hook(value: Any, _type: Any) -> Any:  # noqa: ANN401  # cattrs' signature
        if not isinstance(value, list):  # a text is iterable too
            raise wrong_type("a list", value)
        items, wrong = [], []
        for index, item in enumerate(value):
            try:
                items.append(item_hook(item, item_type))
            except Exception as error:  # noqa: BLE001  # collected, and worded by `_flatten`
                error.__notes__ = [AttributeValidationNote("", str(index + 1), item_type)]
                wrong.append(error)
        if wrong:
            raise IterableValidationError("", wrong, cls)
        return tuple(items)

    return hook


def _word(cls: Any, _converter: Converter) -> Hook:  # noqa: ANN401  # Literal[...] is no type
    words = get_args(cls)

    def hook(value: Any, _type: Any) -> Any:  # noqa: ANN401  # cattrs' signature
        if type(value) is not str:
            raise wrong_type("text", value)
        if value not in words:
            raise not_one_of(value, words)
        return value

    return hook


def _is_list(cls: Any) -> bool:  # noqa: ANN401  # any annotation
    return get_origin(cls) is tuple and get_args(cls)[1:] == (...,)


def _is_word(cls: Any) -> bool:  # noqa: ANN401  # any annotation
    origin: Any = get_origin(cls)
    return origin is Literal


def _is_choice(cls: Any) -> bool:  # noqa: ANN401  # any annotation
    return isinstance(cls, type) and issubclass(cls, Variants) and not dataclasses.is_dataclass(cls)


def _converter() -> Converter:
    converter = Converter(forbid_extra_keys=True, detailed_validation=True)
    converter.register_structure_hook_factory(dataclasses.is_dataclass, _table)
    converter.register_structure_hook_factory(_is_choice, _variant)
    converter.register_structure_hook_factory(_is_list, _list)
    converter.register_structure_hook_factory(_is_word, _word)
    converter.register_structure_hook(str, _strict(str))
    converter.register_structure_hook(bool, _strict(bool))
    converter.register_structure_hook(int, _strict(int))
    converter.register_structure_hook(float, _number)
    converter.register_structure_hook(Duration, _duration)
    converter.register_structure_hook(audience.BaseURL, _base_url)
    return converter


_CONVERTER = _converter()
