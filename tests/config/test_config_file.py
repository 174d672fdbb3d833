"""Which file is taken as the config at all."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from broker.config import read
from broker.errors import ConfigError
from broker.integrations.claude_code.release import FIRST_NAME
from broker.sources import TYPES
from tests.contracts.strangers import give_away

GOOD = b'[credentials.one]\nsource = "demo"\n'


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Give a good config file."""
    path = tmp_path / "config.toml"
    path.write_bytes(GOOD)
    path.chmod(0o644)
    return path


def problem(path: Path) -> str:
    """Read a config that must be refused; give the one line."""
    with pytest.raises(ConfigError) as caught:
        read(path, TYPES, {})
    (line,) = caught.value.problems
    assert line.isprintable()
    assert line.startswith(f"{path}: ")
    return line


def test_a_good_file_is_read_also_through_a_link(config: Path, tmp_path: Path) -> None:
    """Dotfile managers link configs; that others can read it harms nothing, as no secret is in it."""
    link = tmp_path / "link"
    link.symlink_to(config)
    assert read(link, TYPES, {}).default == read(config, TYPES, {}).default == "one"


def test_a_missing_file_comes_with_the_two_commands_that_lead_to_one(tmp_path: Path) -> None:
    """The name is the one that setup takes for a first credential; tests/real/test_setup.py runs both."""
    path = tmp_path / "config.toml"
    how = f"run: broker secret set {FIRST_NAME}, then: broker setup claude-code"
    assert problem(path) == f"{path}: there is no config yet; {how}"


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_file_that_others_can_write_is_refused_until_mended(config: Path, mode: int) -> None:
    """Whoever writes it names the command that runs as this user; the message's own command mends it."""
    config.chmod(mode)
    line = problem(config)
    assert "others can write it" in line
    subprocess.run(["sh", "-c", line.partition("run: ")[2]], check=True, timeout=10)
    assert read(config, TYPES, {})


def test_a_file_of_somebody_else_is_refused_also_behind_a_link(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check is on the file that was opened, not on the name."""
    stranger = give_away(config, monkeypatch)
    link = tmp_path / "link"
    link.symlink_to(config)
    assert f"belongs to uid {stranger}" in problem(link)


def test_what_is_no_file_is_refused_and_hangs_nothing(tmp_path: Path) -> None:
    """A FIFO would otherwise hold up the daemon's start until somebody writes to it."""
    os.mkfifo(tmp_path / "fifo", 0o600)
    for path in (tmp_path / "fifo", tmp_path, Path("/dev/null")):
        assert "must be a regular file" in problem(path)


def test_a_path_that_cannot_be_opened_is_told(config: Path, tmp_path: Path) -> None:
    """In the system's words, without a traceback."""
    assert "cannot be opened (Not a directory)" in problem(config / "config.toml")
    ring = tmp_path / "ring"
    ring.symlink_to(ring)
    assert "cannot be opened (" in problem(ring)


def test_a_name_with_a_nul_is_an_error_of_ours() -> None:
    """Python's own is a bare ValueError."""
    with pytest.raises(ConfigError, match="not a usable path"):
        read(Path("/fake\0"), TYPES, {})


def test_a_file_of_more_than_a_mebibyte_is_refused(config: Path) -> None:
    """A log by mistake is not read to its end; a mebibyte is."""
    config.write_bytes(GOOD.ljust(1024 * 1024, b"\n"))
    assert read(config, TYPES, {})
    config.write_bytes(GOOD.ljust(1024 * 1024 + 1, b"\n"))
    assert "larger than 1 MiB" in problem(config)


def test_a_file_that_cannot_be_read_is_told(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk fails."""

    def broken(*_args: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "read", broken)
    assert "cannot be read (Input/output error)" in problem(config)


def test_a_file_that_is_not_utf_8_is_told_by_its_place(config: Path) -> None:
    """Line and byte, so that an editor can go there."""
    config.write_bytes(GOOD + b"ab\xff")
    assert "line 3, byte 3: not UTF-8" in problem(config)


def test_a_byte_order_mark_is_named(config: Path) -> None:
    """An editor of Windows shows none: "line 1: invalid" would have a person look for something that nobody sees."""
    config.write_bytes(b"\xef\xbb\xbf" + GOOD)
    assert "begins with a byte-order mark; save the file as UTF-8 without one" in problem(config)
