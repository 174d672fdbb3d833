"""`broker config check`, `show`, `path`."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from tests.cli.conftest import Type

GOOD = """\
default = "work"

[daemon]
log_level = "debug"

[sources.tool]
type = "command"
timeout = "90s"

[credentials.work]
source = "tool"
argv = ["/bin/echo", "a \\"quoted\\" word"]
audience = ["https://litellm.corp.example:4000"]

[credentials.other]
source = "demo"
lifetime = "1h30m"
"""


def write(folder: Path, text: str) -> Path:
    """Write the config as its owner would."""
    config = folder / "config.toml"
    config.write_text(text)
    config.chmod(0o600)
    return config


def test_a_good_config_is_said_to_be_good(type_: Type, folder: Path) -> None:
    """With what was found in it."""
    config = write(folder, GOOD)
    said = type_("config check")
    assert (said.code, said.out, said.err) == (0, f"OK: {config}: 2 credentials, 2 sources\n", "")


def test_every_problem_is_told_at_once(type_: Type, folder: Path) -> None:
    """One line each on stderr, and 78."""
    config = write(folder, '[credentials.work]\nsource = "nope"\nmin_validity = 5\n\n[daemon]\npersist = "always"\n')
    said = type_("config check")
    assert (said.code, said.out) == (78, "")
    lines = said.err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"broker: {config}: ") for line in lines)


def test_no_config_is_one_line(type_: Type, folder: Path) -> None:
    """It says which file was looked for."""
    said = type_("config check")
    assert said.code == 78
    assert said.err.startswith(f"broker: {folder}/config.toml: ")
    assert said.err.count("\n") == 1


def test_show_fills_in_the_defaults(type_: Type, folder: Path) -> None:
    """What the daemon goes by, in the words of the file."""
    write(folder, GOOD)
    shown = json.loads(type_("config show --json").out)
    assert shown["default"] == "work"
    assert shown["daemon"]["log_level"] == "debug"
    assert shown["daemon"]["ttl_max"] == "1d"
    assert shown["sources"]["tool"]["timeout"] == "90s"
    assert shown["credentials"]["work"]["min_validity"] == "1m"
    assert shown["credentials"]["other"]["lifetime"] == "90m"
    assert "max_age" not in shown["credentials"]["work"]


def test_what_show_prints_is_a_config_that_means_the_same(type_: Type, folder: Path) -> None:
    """It is TOML, it passes the check, and showing it changes nothing."""
    write(folder, GOOD)
    shown = type_("config show").out
    assert tomllib.loads(shown) == json.loads(type_("config show --json").out)
    write(folder, shown)
    assert type_("config check").code == 0
    assert type_("config show").out == shown


def test_show_keeps_references_as_references(type_: Type, folder: Path, monkeypatch: object) -> None:
    """No secret is looked up to show the config."""
    write(folder, '[credentials.work]\nsource = "env"\nname = "HOME"\n')
    said = type_("config show --json")
    assert json.loads(said.out)["credentials"]["work"]["name"] == "HOME"


def test_path_is_where_the_file_would_be(type_: Type, folder: Path) -> None:
    """Whether it is there or not."""
    assert type_("config path").out == f"{folder}/config.toml\n"
