"""What the README tells people to write and run exists and is valid."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from broker import config
from broker.cli import COMMANDS
from broker.sources import TYPES, program

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """Return the README's code blocks in one language."""
    return [re.sub(r"(?m)^   ", "", block) for block in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)]


@pytest.mark.parametrize("block", blocks("toml"))
def test_every_config_block_is_a_valid_config(block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each may be copied as it is, once the program that it names is installed."""
    monkeypatch.setattr(program, "resolve", lambda name: name)
    assert config.parse(block, ROOT / "config.toml", TYPES, env={}).credentials


def test_every_settings_block_is_json() -> None:
    """The lines for Claude Code's settings can be copied too."""
    assert [json.loads(block)["apiKeyHelper"] for block in blocks("json")]


def test_every_command_named_exists() -> None:
    """No `broker COMMAND` in the README or SECURITY.md is one that this version lacks."""
    text = README + (ROOT / "SECURITY.md").read_text()
    named = set(re.findall(r"(?:`|\$ |&& |bin/)broker ([a-z]+)", text))
    assert named
    assert named <= set(COMMANDS)


def test_every_file_that_security_names_exists() -> None:
    """Each mitigation is found where SECURITY.md says that it is."""
    named = re.findall(r"`((?:broker|helper)/[a-z_./]*)`", (ROOT / "SECURITY.md").read_text())
    assert named
    assert all((ROOT / name).exists() for name in named)


def test_the_two_commands_are_there() -> None:
    """The first lines that a newcomer copies: see it work, and check everything."""
    assert blocks("sh")[0].endswith(".venv/bin/broker demo\n")
    assert blocks("sh")[1] == "python3 -m tests\n"
