"""The macOS module has the shape of the interface, as far as can be seen without running it."""

from __future__ import annotations

import ast
from pathlib import Path

from broker import platform

FOLDER = Path(platform.__file__).parent


def _methods(file: str, name: str) -> dict[str, tuple[str, str]]:
    """Return a class's public methods: their parameters and what they return."""
    tree = ast.parse((FOLDER / file).read_text())
    (found,) = (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == name)
    return {
        node.name: (ast.unparse(node.args), ast.unparse(node.returns) if node.returns else "")
        for node in found.body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    }


def test_both_systems_offer_the_whole_interface() -> None:
    """Every method, with the same parameters and results."""
    promised = _methods("interface.py", "Platform")
    assert len(promised) >= 5
    assert _methods("macos.py", "MacOS") == promised
    assert _methods("linux.py", "Linux") == promised


def test_only_macos_needs_psutil() -> None:
    """It is installed there alone: nothing else here may import it."""
    users = [path.name for path in FOLDER.glob("*.py") if "import psutil" in path.read_text()]
    assert users == ["macos.py"]
