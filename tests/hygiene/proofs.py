"""Names of tests that stand elsewhere, checked: a table of promises must not point at nothing."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).resolve().parents[2]


def exists(test: str) -> bool:
    """Whether `tests/FILE.py::NAME` is there."""
    file, _, name = test.partition("::")
    return name in _tests(_ROOT / file)


@cache
def _tests(path: Path) -> frozenset[str]:
    if not path.exists():
        return frozenset()
    tree = ast.parse(path.read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))
