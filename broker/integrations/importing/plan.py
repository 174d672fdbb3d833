"""One import as a plan: our names for what was found, the tables of our config, and the secrets for our store."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from broker.config import edit, names_credentials, parse
from broker.config.edit import Tables
from broker.config.syntax import load
from broker.errors import BadRequest, ConfigError
from broker.integrations import textfile
from broker.integrations.importing.found import Found, Kept, Reading, shown
from broker.integrations.textfile import TextFile
from broker.model import NAME
from broker.secret import Secret
from broker.sources.interface import SourceType

Types = Mapping[str, SourceType]

_NAME_MAX: Final = 40
"""Characters of the other tool's name that are kept: room for what is added to it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that one import changes. `tables`: what is added to the config; `after`: its whole new text.

    `stored`: names of secrets that were there before. `says`: what becomes of what, in lines; `remarks`: what is not
    carried over, and why; `notes`: what to do next.
    """

    file: TextFile
    after: str
    tables: Tables
    secrets: Mapping[str, Secret] = field(repr=False)
    stored: Collection[str] = ()
    says: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def changes_nothing(self) -> bool:
        """Whether nothing is left to carry over."""
        return not self.tables["credentials"]


@dataclass(slots=True)
class _Draft:
    types: Types
    taken: Mapping[str, Mapping[str, Any]]
    stored: Collection[str]
    force: bool
    sources: dict[str, Any] = field(default_factory=dict)
    credentials: dict[str, Any] = field(default_factory=dict)
    secrets: dict[str, Secret] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    says: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)

    def add(self, found: Found) -> None:
        """Put one credential into the draft, or a remark why not."""
        name = self._name(found.name, is_source=found.source is not None)
        source, credential, secrets = _made(found, name)
        if (problem := self._wrong(name, source, credential)) is not None:
            self.remarks.append(f"{shown(found.name)}: {problem}")
            return
        if found.key is not None:
            self.keys.append(name)
        there = self._in_the_way(name, secrets)
        others = [other for other, table in self.taken["credentials"].items() if _uses(table, name) and other != name]
        if source is not None and others:
            self.says.append(f"{name}: a source of that name is there already, for {', '.join(others)}; left as it is")
            return
        if there is not None and not self.force:
            self.says.append(f"{name}: {there} of that name is there already, and is left as it is (--force replaces)")
            return
        if source is not None:
            self.sources[name] = source
        self.credentials[name] = credential
        self.secrets |= secrets
        was = f"{shown(found.name)} becomes " if found.name != name else ""
        kept = f", its secret stored as {' and '.join(secrets)}" if secrets else ", without a secret"
        about = f"; {found.about}" if found.about else ""
        self.says.append(f"{was}{name}{f', in place of {there}' if there else ''}{kept}{about}")
        self.notes += [(name, note) for note in found.notes]

    def pool(self, name: str) -> None:
        """Make one of all keys."""
        if not NAME.fullmatch(name):
            raise BadRequest("--pool: a name is letters, digits and . _ - (at most 64, no . _ - first)")
        if not self.keys:
            raise BadRequest("--pool: no key was found that could be a member")
        if (name in self.credentials or self._in_the_way(name, {}) is not None) and not self.force:
            raise BadRequest(f"--pool: {name} is there already; choose another name")
        self.sources[name] = {"type": "pool", "members": list(self.keys), "strategy": "failover"}
        self.credentials[name] = {"source": name}
        self.says.append(f"{name}: the pool of {', '.join(self.keys)}")

    def _name(self, text: str, *, is_source: bool) -> str:
        base = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("._-")[:_NAME_MAX] or "imported"
        if shown(text) != text:
            base = "imported"  # it may be a key
        if is_source and base in self.types:
            base = f"{base}-imported"  # a source of a type's name would be taken for the bare type elsewhere
        number, name = 1, base
        while name in self.credentials or name in self.keys:
            number += 1
            name = f"{base}-{number}"
        return name

    def _in_the_way(self, name: str, secrets: Mapping[str, Secret]) -> str | None:
        if name in self.taken["credentials"]:
            return "a credential"
        if name in self.taken["sources"]:
            return "a source"
        return "a stored secret" if any(record in self.stored for record in secrets) else None

    def _wrong(self, name: str, source: dict[str, Any] | None, credential: dict[str, Any]) -> str | None:
        """Try it alone: what is wrong with one must not keep the others out."""
        tables = {"sources": {name: source} if source is not None else {}, "credentials": {name: credential}}
        try:
            parse("\n".join(edit.lines_of(tables)), Path("/"), self.types, {})
        except ConfigError as error:
            return error.problems[0].removeprefix("/: ")
        return None


def make(
    reading: Reading, path: Path, types: Types, stored: Collection[str], *, force: bool = False, pool: str | None = None
) -> Plan:
    """Work out an import into the config at `path`; `stored`: names of secrets that are there.

    Raises `BadRequest`, `ConfigError`, `FileProblem`.
    """
    file = textfile.read(path)
    text = file.text or ""
    there = load(text, path)
    taken = {section: there.get(section, {}) for section in ("sources", "credentials")}
    draft = _Draft(types, taken, stored, force)
    for found in reading.found:
        draft.add(found)
    if pool is not None and draft.credentials:
        draft.pool(pool)
    tables = {"sources": draft.sources, "credentials": draft.credentials}
    after = text
    if draft.credentials:
        after = edit.add_tables(text, path, tables, default=_default(draft, pool, is_new=not names_credentials(path)))
        parse(after, path, types, {})  # what is wrong with the rest is to be mended first
        textfile.check_replaceable(file)
    remarks = (*reading.remarks, *draft.remarks)
    served = dict.fromkeys(draft.keys, pool) if pool is not None else {}  # whoever wants a pool asks for no member
    notes = tuple(dict.fromkeys(note.replace("NAME", served.get(name) or name, 1) for name, note in draft.notes))
    return Plan(file, after, tables, draft.secrets, stored, tuple(draft.says), remarks, notes)


def _default(draft: _Draft, pool: str | None, *, is_new: bool) -> str | None:
    """Serve by default, in a config that had nothing, the pool, or the first key."""
    return (pool or next(iter(draft.keys or draft.credentials))) if is_new else None


def _uses(credential: object, source: str) -> bool:
    return isinstance(credential, dict) and credential.get("source") == source


def _made(found: Found, name: str) -> tuple[dict[str, Any] | None, dict[str, Any], dict[str, Secret]]:
    """Put references in place of secrets: the tables, and the secrets by their names in the store."""
    secrets: dict[str, Secret] = {}

    def referred(value: Any) -> Any:  # noqa: ANN401  # texts, lists and tables
        if isinstance(value, Kept):
            record = f"{name}-{value.suffix}"
            secrets[record] = value.secret
            return {"local": record}
        if isinstance(value, Mapping):
            return {key: referred(inner) for key, inner in value.items()}
        return [referred(inner) for inner in value] if isinstance(value, list) else value

    source = None if found.source is None else referred(found.source)
    credential = {"source": "local" if source is None else name, **referred(found.credential)}
    if found.key is not None:
        secrets[name] = found.key.secret
    return source, credential, secrets
