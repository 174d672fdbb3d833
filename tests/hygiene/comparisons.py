"""Finds secrets that are compared by `==`, `in` and their like, which take the longer the more of it was guessed."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

SECRET_NAMES: Final = frozenset(
    ("secret", "passphrase", "password", "mac", "hmac", "plain", "revealed", "token_text", "bearer", "authorization")
)
"""What a variable or attribute that holds a secret's or a MAC's own text is called."""

REVEALING: Final = frozenset(("reveal", "digest", "hexdigest", "derive"))
"""Calls that give such a text."""

METHODS: Final = frozenset(("startswith", "endswith", "find", "index", "count", "__eq__", "__contains__"))
"""Comparisons that are calls."""

HARMLESS: Final = frozenset(("len", "type", "isinstance", "bool", "is_servable"))
"""What these say of a secret is not its text."""


_SCOPES: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_EQUALITY: Final = (ast.Eq, ast.NotEq, ast.In, ast.NotIn)


@dataclass(frozen=True, slots=True, order=True)
class Found:
    """One comparison, by the function that it stands in."""

    where: str
    line: int
    text: str


def comparisons(source: str, module: str) -> list[Found]:
    """List every comparison of a secret's text in a module."""
    return sorted(_in_scope(ast.parse(source), module))


def _in_scope(scope: ast.AST, name: str) -> Iterator[Found]:
    """Look through a module, class or function, and then through those that are in it."""
    nodes = list(_own_nodes(scope))
    tainted = {target.id for node in nodes for target in _assigned(node) if isinstance(target, ast.Name)}
    for node in nodes:
        if isinstance(node, _SCOPES):
            yield from _in_scope(node, f"{name}.{node.name}")
        elif any(_is_secret(part, tainted) for part in _compared(node)):
            yield Found(name, getattr(node, "lineno", 0), ast.unparse(node).partition("\n")[0])


def _own_nodes(scope: ast.AST) -> Iterator[ast.AST]:
    """Walk a scope, the scopes in it included, but not what is in those."""
    for child in ast.iter_child_nodes(scope):
        yield child
        if not isinstance(child, _SCOPES):
            yield from _own_nodes(child)


def _compared(node: ast.AST) -> Sequence[ast.expr]:
    """Name what this node compares, if it does."""
    if isinstance(node, ast.Compare) and any(isinstance(op, _EQUALITY) for op in node.ops):
        return [node.left, *node.comparators]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
        return [node.func.value, *node.args]
    return [node.subject] if isinstance(node, ast.Match) else []


def _assigned(node: ast.AST) -> list[ast.expr]:
    """Name what is given a secret's text by this node."""
    if isinstance(node, ast.Assign) and _is_secret(node.value, set()):
        return node.targets
    if isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and node.value is not None and _is_secret(node.value, set()):
        return [node.target]
    if isinstance(node, (ast.For, ast.comprehension)) and _is_secret(node.iter, set()):
        return [node.target]
    return []


def _is_secret(node: ast.AST, tainted: set[str]) -> bool:
    """Whether a secret's text is in what this expression gives."""
    if isinstance(node, ast.Compare):
        return False  # it gives a truth, and is looked at by itself
    if isinstance(node, ast.Call):
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if called in HARMLESS:
            return False
        if called in REVEALING:
            return True
    if isinstance(node, ast.Attribute) and node.attr.lstrip("_") in SECRET_NAMES:
        return True
    if isinstance(node, ast.Name) and (node.id in tainted or node.id in SECRET_NAMES):
        return True
    return any(_is_secret(child, tainted) for child in ast.iter_child_nodes(node))
