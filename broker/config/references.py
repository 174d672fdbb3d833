"""Credentials that are made from others' tokens: every name must exist, and none may come back to itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

from broker.config.structs import CredentialConfig, SourceConfig
from broker.config.wording import near
from broker.model import NAME
from broker.sources.interface import Pooling, SecretPlace, SourceType

Keys = tuple[str, ...]


def problems(
    sources: Mapping[str, SourceConfig], credentials: Mapping[str, CredentialConfig], named: Iterable[str]
) -> Iterator[tuple[Keys, str]]:
    """Find `{ credential = "NAME" }` and members of pools that lead nowhere or in a circle: where, and what is wrong.

    `named`: every credential's table, also those with problems of their own.
    """
    of_source = {
        name: list(_uses(source.settings, ("sources", name))) if name in sources else []
        for name, source in sources.items()
    }
    uses = {
        name: [*_uses(credential.settings, ("credentials", name)), *of_source[credential.source]]
        for name, credential in credentials.items()
    }
    told = set()
    for name, found in uses.items():
        for keys, wanted in found:
            problem = _problem(name, wanted, uses) if wanted in uses else _unknown(wanted, sorted(named))
            if problem is not None and (keys, wanted) not in told:
                told.add((keys, wanted))
                yield keys, problem


def dangling(
    tables: Mapping[str, object], section: str, named: Iterable[str], types: Mapping[str, SourceType]
) -> Iterator[tuple[Keys, str]]:
    """Find in tables that have problems of their own what leads nowhere besides, as far as it shows."""
    known = sorted(named)
    for name, table in tables.items():
        keys = (section, name)
        members = (((*keys, "members"), member) for member in _members(table, types))
        for place, wanted in (*_written(table, keys), *members):
            problem = _unknown(wanted, known)
            if problem is not None:
                yield place, problem


def _members(table: object, types: Mapping[str, SourceType]) -> Iterator[str]:
    type_ = types.get(str(table.get("type"))) if isinstance(table, dict) else None
    if isinstance(table, dict) and type_ is not None and issubclass(type_.source_settings, Pooling):
        members = table.get("members")
        named = members if isinstance(members, list) else []
        yield from (name for name in named if isinstance(name, str) and NAME.fullmatch(name))


def _written(value: object, keys: Keys) -> Iterator[tuple[Keys, str]]:
    """Find what is written as `{ credential = "NAME" }`."""
    if not isinstance(value, dict):
        return
    wanted = value.get("credential")
    if len(value) == 1 and isinstance(wanted, str) and NAME.fullmatch(wanted):  # what is no name is told as that
        yield keys, wanted
    for key, inner in value.items():
        yield from _written(inner, (*keys, key))


def _problem(name: str, wanted: str, uses: Mapping[str, Sequence[tuple[Keys, str]]]) -> str | None:
    circle = _way(wanted, name, uses)
    if circle is None:
        return None
    return f"credential {' needs '.join([name, *circle])}, in a circle; get the secret from elsewhere"


def _unknown(wanted: str, named: Sequence[str]) -> str | None:
    return None if wanted in named else f"no such credential{near(wanted, named)}; known are {', '.join(named)}"


def _way(start: str, goal: str, uses: Mapping[str, Sequence[tuple[Keys, str]]]) -> list[str] | None:
    """Find how `start` needs `goal` in the end, as names from one to the other."""
    came_from: dict[str, str | None] = {start: None}
    todo = [start]
    for name in todo:
        if name == goal:
            return _back(name, came_from)
        for _keys, wanted in uses.get(name, ()):
            if wanted not in came_from:
                came_from[wanted] = name
                todo.append(wanted)
    return None


def _back(name: str | None, came_from: Mapping[str, str | None]) -> list[str]:
    way: list[str] = []
    while name is not None:
        way.insert(0, name)
        name = came_from[name]
    return way


def _uses(settings: object, keys: Keys) -> Iterator[tuple[Keys, str]]:
    """Find every reference to a credential in a settings object, with the keys that lead to it."""
    if isinstance(settings, Pooling):
        yield from (((*keys, "members"), member) for member in settings.members)
    elif isinstance(settings, SecretPlace):
        if settings.credential is not None:
            yield keys, settings.credential
    elif dataclasses.is_dataclass(settings):
        for field in dataclasses.fields(settings):
            yield from _uses(getattr(settings, field.name), (*keys, field.name))
