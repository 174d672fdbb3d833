"""Our own config, edited in place: comments, order and layout stay (tomlkit).

Every result is read back: where tomlkit's text does not say exactly what was meant (it has open bugs with tables that
are defined out of order), the edit is refused and the lines to add by hand are named.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from broker.config.syntax import load
from broker.errors import ConfigError

if TYPE_CHECKING:
    from tomlkit.items import Item, Key, Table

_LOCAL: Final = """\
[credentials.{name}]
source = "local"         # the broker's own encrypted store; fill it with: broker secret set {name}
"""

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)

Tree = dict[str, Any]

Tables = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""By section (`sources`, `credentials`), then by name."""


def add_audience(text: str, path: Path, credential: str, url: str) -> str:
    """Let `credential` be released for `url` too. `path` is for the messages. Raises `ConfigError`."""

    def change(tree: Any) -> None:  # noqa: ANN401  # dict or tomlkit's own
        table = tree["credentials"][credential]
        if "audience" in table:
            table["audience"].append(url)
        else:
            _append(table, "audience", [url])

    return _edited(text, path, change, f"add {json.dumps(url)} to `audience` of [credentials.{credential}] by hand")


def remove_audience(text: str, path: Path, credential: str, url: str) -> str:
    """Take that back; without it change nothing. Raises `ConfigError`."""
    try:
        if url not in load(text, path)["credentials"][credential]["audience"]:
            return text
    except (KeyError, TypeError):
        return text

    def change(tree: Any) -> None:  # noqa: ANN401  # dict or tomlkit's own
        table = tree["credentials"][credential]
        if table["audience"] == [url]:
            del table["audience"]
        else:
            table["audience"].remove(url)

    return _edited(
        text, path, change, f"take {json.dumps(url)} out of `audience` of [credentials.{credential}] by hand"
    )


def add_local(text: str, path: Path, credential: str) -> str:
    """Add a credential that lives in the broker's own store, at the end. Raises `ConfigError`.

    A credential that was the only one, and so the default, stays the default.
    """
    meant = load(text, path)
    line_end = "\r\n" if "\r\n" in text else "\n"
    gap = line_end * (1 if text.endswith("\n") else 2) if text.strip() else ""
    added = text + gap + _LOCAL.format(name=credential).replace("\n", line_end)
    known = list(meant.setdefault("credentials", {}))
    if len(known) == 1 and "default" not in meant:
        meant["default"] = known[0]
        added = f'default = "{known[0]}"{line_end}{line_end}{added}'
    meant["credentials"][credential] = {"source": "local"}
    return _read_back(added, meant, f'add a table [credentials.{credential}] with source = "local" by hand', path)


def add_tables(text: str, path: Path, tables: Tables, *, default: str | None = None) -> str:
    """Add sources and credentials at the end; those of a name that is there already get this content in their place.

    `default`: the default credential, where there is none yet. Else a credential that was the only one, and so the
    default, stays the default. Raises `ConfigError`.
    """
    known = list(load(text, path).get("credentials", {}))
    text = _with_content(text, path, tables)
    meant = load(text, path)
    line_end = "\r\n" if "\r\n" in text else "\n"
    lines = []
    for section, named in tables.items():
        for name, table in named.items():
            if name not in meant.setdefault(section, {}):
                meant[section][name] = table
                pairs = (f"{_key(key)} = {_value(value)}" for key, value in table.items())
                lines += [f"[{section}.{_key(name)}]", *pairs, ""]
    gap = line_end * (1 if text.endswith("\n") else 2) if text.strip() and lines else ""
    added = text + gap + line_end.join(lines)
    default = default or (known[0] if len(known) == 1 and len(meant["credentials"]) > 1 else None)
    if default is not None and "default" not in meant:
        meant["default"] = default
        added = f'default = "{default}"{line_end}{line_end}{added}'
    meant = {key: value for key, value in meant.items() if value != {} or key not in tables}
    return _read_back(added, meant, "add the tables that --dry-run shows by hand", path)


def _with_content(text: str, path: Path, tables: Tables) -> str:
    """Give those that are there already their new content: so the comments around them stay where they are."""
    there = load(text, path)
    new = [(section, name, table) for section, named in tables.items() for name, table in named.items()]
    new = [(section, name, table) for section, name, table in new if name in there.get(section, {})]
    if not new:
        return text

    def change(tree: Any) -> None:  # noqa: ANN401  # dict or tomlkit's own
        import tomlkit  # noqa: PLC0415  # see `_edited`

        for section, name, wanted in new:
            table = tree[section][name]
            for key in [key for key in table if key not in wanted]:
                del table[key]
            for key, value in wanted.items():
                made = value if type(table) is dict else tomlkit.parse(f"x = {_value(value)}")["x"]
                if key in table:
                    table[key] = made
                else:
                    _append(table, key, made)

    names = ", ".join(f"[{section}.{name}]" for section, name, _ in new)
    return _edited(text, path, change, f"take {names} out by hand")


def lines_of(tables: Tables) -> list[str]:
    """Write tables as they are added."""
    return add_tables("", Path("/"), tables).splitlines()


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else json.dumps(name)


def _value(value: object) -> str:
    """Write a text, a list or a table in one line; a text of JSON is one of TOML too."""
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_key(key)} = {_value(inner)}' for key, inner in value.items())} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value, ensure_ascii=False)


def _edited(text: str, path: Path, change: Callable[[Any], None], by_hand: str) -> str:
    import tomlkit  # noqa: PLC0415  # only `broker setup` edits
    from tomlkit.exceptions import TOMLKitError  # noqa: PLC0415

    meant = load(text, path)
    change(meant)
    try:
        document = tomlkit.parse(text)
        change(document)
        edited = tomlkit.dumps(document)
    except (TOMLKitError, KeyError, ValueError, IndexError, TypeError, AttributeError):
        raise _by_hand(path, by_hand) from None
    if "\r\n" in text and not re.search(r"(?<!\r)\n", text):
        edited = re.sub(r"(?<!\r)\n", "\r\n", edited)
    return _read_back(edited, meant, by_hand, path)


def _append(table: Table | Tree, key: str, value: object) -> None:
    """Add a key below the others of its table, and not below the comment that belongs to the next table."""
    from tomlkit.items import Comment, Whitespace  # noqa: PLC0415
    from tomlkit.items import Table as StyledTable  # noqa: PLC0415

    if not isinstance(table, StyledTable):
        table[key] = value
        return
    body = table.value.body
    tail: list[tuple[Key | None, Item]] = []
    while body and isinstance(body[-1][1], (Comment, Whitespace)):
        tail.insert(0, body.pop())
    table[key] = value
    body.extend(tail)


def _read_back(text: str, meant: Tree, by_hand: str, path: Path) -> str:
    try:
        if tomllib.loads(text) == meant:
            return text
    except (tomllib.TOMLDecodeError, RecursionError):
        pass
    raise _by_hand(path, by_hand)


def _by_hand(path: Path, what: str) -> ConfigError:
    return ConfigError([f"{path}: written in a way that cannot be edited safely; {what}, then run this again"])
