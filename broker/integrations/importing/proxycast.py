"""ProxyCast's provider file: its "Claude Custom" providers (the project's documentation, "Claude Custom").

A list under `providers`, providers by name at the top, and at the top, under the type's name, what all of them share.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from broker.errors import ConfigError
from broker.integrations.importing import plain_yaml
from broker.integrations.importing.found import Found, NotCarried, Reading, aws_keys, key, options, shown, with_sessions

TYPE: Final = "claude-custom"

Table = Mapping[str, Any]

_KNOWN: Final = frozenset(
    {"name", "type", "api_key", "base_url", "api_version", "headers", "timeout"}
    | {"aws_region", "aws_access_key", "aws_secret_key", "model_id", "enabled", "disabled"}
)
_MARKS: Final = frozenset({"type", "api_key", "aws_region", "aws_access_key", "model_id"})
"""What makes a table at the top a provider."""
_USUAL_VERSION: Final = "2023-06-01"
_SPAN: Final = re.compile(r"[0-9]{1,6}(ms|s|m)?", re.ASCII)
_MILLISECONDS: Final = {"ms": 1, "s": 1000, "m": 60_000, None: 1000}


def read(text: str, path: Path) -> Reading:
    """Read a file. Raises `ConfigError` for what is none of ProxyCast's."""
    top = plain_yaml.load(text, path)
    remarks: list[str] = []
    shared = _table(top.get(TYPE)) if isinstance(top, dict) else {}
    entries = list(_entries(top, remarks))
    if _MARKS & shared.keys() - {"type"}:
        entries.append((TYPE, shared))
    if not entries:
        raise ConfigError([f"{path}: no provider in it; expected a list `providers`, as ProxyCast writes it"])
    remarks += _own_settings("all providers", shared)
    found: list[Found] = []
    for name, entry in entries:
        try:
            found.append(_provider({**shared, **entry}, name))
            remarks += _own_settings(shown(name), entry) if entry is not shared else ()
        except NotCarried as why:
            remarks.append(f"{shown(name)}: {why}")
    return Reading(tuple(found), tuple(remarks))


def _entries(top: object, remarks: list[str]) -> Iterator[tuple[str, Table]]:
    """Find every provider, by name."""
    if isinstance(top, list):
        yield from _listed(top, remarks)
    elif isinstance(top, dict):
        for name, value in top.items():
            if name == "providers" and isinstance(value, list):
                yield from _listed(value, remarks)
            elif name == "providers" and isinstance(value, dict):
                yield from ((inner, _table(entry)) for inner, entry in value.items())
            elif isinstance(value, dict) and _MARKS & value.keys() and name != TYPE:
                yield name, value
            elif name != TYPE:
                remarks.append(f"{shown(name)}: no provider, and nothing that the broker keeps")


def _listed(entries: list[Any], remarks: list[str]) -> Iterator[tuple[str, Table]]:
    for number, entry in enumerate(entries, 1):
        if isinstance(entry, dict):
            yield _text(entry, "name") or f"provider-{number}", entry
        else:
            remarks.append(f"provider {number}: not a table")


def _provider(entry: Table, name: str) -> Found:
    if (type_ := _text(entry, "type")) not in {"", TYPE}:
        raise NotCarried(f"its type {shown(type_)} is none that Claude Code has keys of; only {TYPE} is read")
    if not _text(entry, "api_key"):
        return _bedrock(entry, name)
    chosen = options(model=_text(entry, "model_id"))
    return key(name, _text(entry, "api_key"), _text(entry, "base_url"), chosen)


def _bedrock(entry: Table, name: str) -> Found:
    if not {"aws_region", "aws_access_key", "aws_secret_key", "model_id"} & entry.keys():
        raise NotCarried("it has neither an api_key nor anything of AWS's")
    ids, region, model = (
        (_text(entry, "aws_access_key"), _text(entry, "aws_secret_key")),
        _text(entry, "aws_region"),
        _text(entry, "model_id"),
    )
    keys = with_sessions(aws_keys(*ids)) if any(ids) else {}
    source = {"type": "aws"} | ({"region": region} if region else {}) | keys
    about = "" if any(ids) else "by the IAM role that this machine has, found as the AWS CLI finds it"
    setup = "broker setup claude-code --credential NAME --provider bedrock" + options(region=region, model=model)
    return Found(name, source=source, about=about, notes=(setup,))


def _own_settings(who: str, entry: Table) -> Iterator[str]:
    """Say what Claude Code does by settings of its own."""
    if _text(entry, "enabled").lower() == "false" or _text(entry, "disabled").lower() == "true":
        yield f"{who}: that it is switched off; take it out of the config, or out of the pool, by hand"
    if _text(entry, "api_version") not in {"", _USUAL_VERSION}:
        yield f"{who}: api_version, as Claude Code always says {_USUAL_VERSION}"
    if headers := _table(entry.get("headers")):
        names = ", ".join(shown(header) for header in headers)
        yield f"{who}: the headers {names}; Claude Code sends them by --header of: broker setup claude-code"
    if entry.get("timeout"):
        yield f"{who}: timeout, as Claude Code has its own{_timeout(entry['timeout'])}"
    if odd := [shown(field) for field in entry if field not in _KNOWN]:
        yield f"{who}: {', '.join(odd)}, not known here"


def _timeout(timeout: object) -> str:
    """Say how Claude Code is told the same."""
    found = _SPAN.fullmatch(_text(_table(timeout), "request"))
    if found is None:
        return ": API_TIMEOUT_MS in the `env` of its settings"
    number, unit = found[0].rstrip("ms"), found[1]
    return f': "API_TIMEOUT_MS": "{int(number) * _MILLISECONDS[unit]}" in the `env` of its settings'


def _table(value: object) -> Table:
    return value if isinstance(value, dict) else {}


def _text(entry: Table, field: str) -> str:
    value = entry.get(field)
    text = value.strip() if isinstance(value, str) else ""
    return "" if text.lower() in {"null", "~"} else text
