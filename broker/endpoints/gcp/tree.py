"""The metadata that Google's clients read, as a tree, and how the real server shows a node of it.

Contract: https://cloud.google.com/compute/docs/metadata/querying-metadata (directories end in a slash, `recursive`,
`alt`, `ETag`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

Node: TypeAlias = "str | int | tuple[str, ...] | Mapping[str, Node] | None"
"""A value, several, a directory, or None: what only its own path answers (a token)."""

JSON: Final = "application/json"
TEXT: Final = "application/text"
"""As the real server calls it. Clients take nothing but `application/json` for JSON."""

_VERBATIM: Final = frozenset({"serviceAccounts"})
"""What stands below these is a name of somebody's, not one of ours."""


class Missing(LookupError):
    """There is nothing at this path."""


class Misplaced(LookupError):
    """There is a directory at this path, which ends in a slash."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What an answer carries. `etag` changes with what it stands for, not with how it is shown."""

    body: bytes
    content_type: str
    etag: str


def etag(meaning: str) -> str:
    """Name a state of things in 16 hex digits, as the real server does."""
    return hashlib.sha256(meaning.encode()).hexdigest()[:16]


def find(tree: Node, path: str) -> Node:
    """Return the node at a path: "project/project-id", "instance/". Raises `Missing` or `Misplaced`."""
    *names, last = path.split("/")
    node = tree
    for name in [*names, last] if last else names:
        if not isinstance(node, Mapping) or name not in node:
            raise Missing
        node = node[name]
    if isinstance(node, Mapping) and last:
        raise Misplaced
    if not isinstance(node, Mapping) and not last:
        raise Missing
    return node


def show(node: Node, *, recursive: bool = False, alt: str | None = None) -> Shown:
    """Show a node as it was asked for; `alt` is "json", "text" or None: what is usual for it."""
    if isinstance(node, Mapping) and not recursive:
        listed: Node = tuple(f"{name}/" if isinstance(below, Mapping) else name for name, below in node.items())
        whole = _text(listed) + "\n"
    else:
        listed = node
        whole = "".join(f"{line}\n" for line in _lines(node)) if isinstance(node, Mapping) else _text(node)
    as_json = alt == "json" or (alt is None and recursive and isinstance(node, Mapping))
    text = json.dumps(_camel(listed)) if as_json else whole
    return Shown(text.encode(), JSON if as_json else TEXT, etag(json.dumps(_camel(node))))


def _text(node: Node) -> str:
    return "\n".join(node) if isinstance(node, tuple) else str(node)


def _lines(node: Node, path: str = "") -> Iterator[str]:
    if isinstance(node, Mapping):
        for name, below in node.items():
            yield from _lines(below, f"{path}/{name}" if path else name)
    elif isinstance(node, tuple):
        yield from (f"{path}/{number} {value}" for number, value in enumerate(node))
    elif node is not None:
        yield f"{path} {node}"


def _camel(node: Node, *, verbatim: bool = False) -> object:
    """Turn a node to what JSON can say; names in it are written likeThis there."""
    if isinstance(node, tuple):
        return list(node)
    if not isinstance(node, Mapping):
        return node
    found = {}
    for name, below in node.items():
        said = name if verbatim else _camel_name(name.split("-"))
        if below is not None:
            found[said] = _camel(below, verbatim=said in _VERBATIM)
    return found


def _camel_name(words: Sequence[str]) -> str:
    return words[0] + "".join(word.capitalize() for word in words[1:])
