"""Which Claude Code is installed: told without running anything, and by nobody else's files."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.integrations.claude_code.installed import find, version


def test_the_version_is_told_without_running_anything(tmp_path: Path) -> None:
    """By npm's package.json, by the native installer's folder; else not at all."""
    package = tmp_path / "claude-code"
    (package / "bin").mkdir(parents=True)
    (package / "package.json").write_text('{"name": "@anthropic-ai/claude-code", "version": "2.1.330"}')
    (package / "bin" / "claude.exe").touch(mode=0o755)
    (tmp_path / "claude").symlink_to(package / "bin" / "claude.exe")
    assert version(tmp_path / "claude") == (2, 1, 330)
    native = tmp_path / "versions" / "2.1.197"
    native.parent.mkdir()
    native.touch(mode=0o755)
    (tmp_path / "native").symlink_to(native)
    assert version(tmp_path / "native") == (2, 1, 197)
    (tmp_path / "other").touch(mode=0o755)
    assert version(tmp_path / "other") is None


@pytest.mark.parametrize(
    "package", ['{"name": "else", "version": "1.2.3"}', "[]", "{", '{"name": "@anthropic-ai/claude-code"}']
)
def test_a_package_of_somebody_else_tells_nothing(package: str, tmp_path: Path) -> None:
    """Nor one that is broken."""
    (tmp_path / "package.json").write_text(package)
    (tmp_path / "claude").touch(mode=0o755)
    assert version(tmp_path / "claude") is None


def test_a_project_cannot_pass_for_claude_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative folder of PATH is the project's: what is there is not looked at."""
    (tmp_path / "claude").touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    assert find(".:bin:") is None
    assert find(f"relative:{tmp_path}") == tmp_path / "claude"


def test_a_folder_that_cannot_be_looked_at_is_passed_over(tmp_path: Path) -> None:
    """Such as root's in a PATH that sudo kept: the doctor goes on with the next one."""
    (tmp_path / "claude").touch(mode=0o755)
    assert find(f"/{'n' * 256}:{tmp_path}") == tmp_path / "claude"
