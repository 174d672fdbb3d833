"""A JSON text edited in place: what is not ours keeps every byte, also order, indentation and line ends.

No maintained Python library does this: those that keep comments write the whole text anew. Python's own scanner says
where a value ends (`raw_decode`), so only the steps from member to member are ours.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn, Self

Keys = tuple[str, ...]
"""Where a value stands: the keys from the top of the document."""

_BOM: Final = "\N{BOM}"
_BLANK: Final = re.compile(r"[ \t\r\n]*")
_SCALAR: Final = re.compile(r'("(?:[^"\\]|\\.)*")([ \t\r\n]*:)?|[-+.\w]+', re.ASCII)
_UNIT: Final = "  "
_ODD: Final = "not JSON that others read alike: NaN, a number too long, or nested too deep"


class NotEditable(ValueError):
    """The text is no plain JSON object, or holds a key of ours in a way that could be read twice.

    The message follows the file's name; it never quotes the text.
    """


def load(text: str) -> dict[str, Any]:
    """Return what the text says; an empty one says nothing. Raises `NotEditable`."""
    plain = text.removeprefix(_BOM)
    if _is_empty(text):
        return {}
    try:
        value = json.loads(plain, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise NotEditable(
            f"line {error.lineno}, column {error.colno}: not valid JSON{_usual_reason(plain, error)}"
        ) from None
    except (ValueError, RecursionError):  # NaN, a number of thousands of digits, nesting without end
        raise NotEditable(_ODD) from None
    if not isinstance(value, dict):
        raise NotEditable("holds no JSON object; it must begin with {")
    return value


def lookup(document: Mapping[str, Any], keys: Keys) -> tuple[bool, Any]:
    """Tell whether a value stands there, and which."""
    value: Any = document
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            return False, None
        value = value[key]
    return True, value


def put(text: str, keys: Keys, value: object) -> str:
    """Set one value, in its old place or else as the last of its object, in the layout of its neighbours.

    Raises `NotEditable`, like `load`, and where a key on the way is there twice or holds no object.
    """
    load(text)
    if _is_empty(text):
        text = f"{text[: text.startswith(_BOM)]}{{}}\n"
    return _put(text, _top(text), keys, value)


def drop(text: str, keys: Keys) -> str:
    """Take one value out, with its key and comma; without it change nothing. Raises what `put` raises."""
    return _drop(text, _top(text), keys) if lookup(load(text), keys)[0] else text


def mask(text: str) -> str:
    """Replace every value, but no key: to show the layout of a text that may hold secrets."""
    return _SCALAR.sub(lambda found: found[0] if found[2] else '"…"', text)


@dataclass(frozen=True, slots=True)
class _Member:
    """One `"key": value`, by its offsets."""

    key: str
    at: int
    key_end: int
    value_at: int
    end: int


@dataclass(frozen=True, slots=True)
class _Object:
    """One `{...}` of the text, by the offsets of its braces, and its members."""

    brace: int
    members: tuple[_Member, ...]
    end: int

    @classmethod
    def at(cls, text: str, brace: int) -> Self:
        """Find the members of the object that begins at `brace`, in a text that `load` has accepted."""
        members: list[_Member] = []
        at = _skip(text, brace + 1)
        while text[at] != "}":
            key, key_end = _scan(text, at)
            value_at = _skip(text, _skip(text, key_end) + 1)
            members.append(_Member(key, at, key_end, value_at, _scan(text, value_at)[1]))
            at = _skip(text, members[-1].end)
            if text[at] == ",":
                at = _skip(text, at + 1)
        return cls(brace, tuple(members), at)

    def member(self, key: str) -> _Member | None:
        found = [member for member in self.members if member.key == key]
        if len(found) > 1:
            raise NotEditable(f"{key} stands there {len(found)} times; leave one")
        return found[0] if found else None


def _put(text: str, brace: int, keys: Keys, value: object) -> str:
    here = _Object.at(text, brace)
    member = here.member(keys[0])
    if member is None:
        for key in reversed(keys[1:]):
            value = {key: value}
        return _insert(text, here, keys[0], value)
    if len(keys) == 1:
        return text[: member.value_at] + _json(value) + text[member.end :]
    return _put(text, _inner(text, member), keys[1:], value)


def _drop(text: str, brace: int, keys: Keys) -> str:
    here = _Object.at(text, brace)
    member = here.member(keys[0])
    assert member is not None  # noqa: S101  # for the type checker; `drop` looked
    if len(keys) > 1:
        return _drop(text, _inner(text, member), keys[1:])
    at = here.members.index(member)
    if len(here.members) == 1:
        return text[: brace + 1] + text[here.end :]
    if member is here.members[-1]:
        return text[: here.members[at - 1].end] + text[member.end :]
    return text[: member.at] + text[here.members[at + 1].at :]


def _insert(text: str, here: _Object, key: str, value: object) -> str:
    if not here.members:
        return _fill(text, here, key, value)
    last = here.members[-1]
    colon = text[last.key_end : last.value_at]
    gap = _gap_before(text, last.at)
    if len(here.members) == 1 and not gap:  # {"a": 1}
        gap = " " if colon.endswith(" ") else ""
    body = _json(value, gap, _unit(text)) if "\n" in gap else _json(value)
    return f"{text[: last.end]},{gap}{_json(key)}{colon}{body}{text[last.end :]}"


def _fill(text: str, here: _Object, key: str, value: object) -> str:
    """Write the first member of an empty object: on a line of its own, unless the document stands on one line."""
    top = _Object.at(text, _top(text)).members
    before, after = text[: here.brace + 1], text[here.end :]
    if top and "\n" not in _gap_before(text, top[0].at):
        return f"{before}{_json(key)}{text[top[0].key_end : top[0].value_at]}{_json(value)}{after}"
    line = text[text.rfind("\n", 0, here.brace) + 1 : here.brace].removeprefix(_BOM)
    outer = ("\r\n" if "\r\n" in text else "\n") + line[: len(line) - len(line.lstrip(" \t"))]
    inner = outer + _unit(text)
    return f"{before}{inner}{_json(key)}: {_json(value, inner, _unit(text))}{outer}{after}"


def _scan(text: str, at: int) -> tuple[Any, int]:
    """Read the value that begins at `at`; return it and where it ends."""
    return json.JSONDecoder().raw_decode(text, at)


def _json(value: object, new_line: str = "", unit: str | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=unit).replace("\n", new_line)


def _unit(text: str) -> str:
    """Return one step of indentation: what stands before the document's first key."""
    members = _Object.at(text, _top(text)).members
    gap = _gap_before(text, members[0].at) if members else ""
    return gap.rpartition("\n")[2] or _UNIT if "\n" in gap else _UNIT


def _gap_before(text: str, at: int) -> str:
    return text[len(text[:at].rstrip(" \t\r\n")) : at]


def _inner(text: str, member: _Member) -> int:
    if text[member.value_at] != "{":
        raise NotEditable(f"{member.key}: expected an object {{...}}")
    return member.value_at


def _top(text: str) -> int:
    return _skip(text, int(text.startswith(_BOM)))


def _skip(text: str, at: int) -> int:
    return at + len(_BLANK.match(text, at)[0])  # type: ignore[index]  # it matches the empty text too


def _is_empty(text: str) -> bool:
    return _skip(text, int(text.startswith(_BOM))) == len(text)


def _no_constant(_name: str) -> NoReturn:
    raise ValueError


def _usual_reason(text: str, error: json.JSONDecodeError) -> str:
    """Name the two things that people write though JSON has none."""
    if text.startswith(("/", "#"), error.pos):
        return "; JSON has no comments: remove them"
    if "trailing comma" in error.msg or (text[error.pos : error.pos + 1] in {"}", "]"} and _after_comma(text, error)):
        return "; JSON has no comma after the last value: remove it"
    return ""


def _after_comma(text: str, error: json.JSONDecodeError) -> bool:
    return text[: error.pos].rstrip(" \t\r\n").endswith(",")
