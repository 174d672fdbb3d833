"""The unit files on disk: whose they are, what would be written, and how a path is written for systemd."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import UnsafePath
from broker.integrations import systemd_units
from broker.integrations.systemd_units import State, Unit, installed
from broker.integrations.textfile import FileProblem

BROKER = Path("/opt/venv/bin/broker")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of units, which is not there yet."""
    return tmp_path / "systemd" / "user"


def write(folder: Path, broker: Path = BROKER) -> None:
    """Install both units."""
    for unit in installed(folder, broker):
        unit.write()


def service(folder: Path, broker: Path = BROKER) -> Unit:
    """Compare the service."""
    return next(unit for unit in installed(folder, broker) if unit.path.name == "broker.service")


def exec_start(folder: Path, broker: Path) -> str:
    """Return the line that starts the daemon."""
    (line,) = [line for line in service(folder, broker).wanted.splitlines() if line.startswith("ExecStart=")]
    return line


def test_what_was_written_is_found_fine(folder: Path) -> None:
    """So setting up twice changes nothing."""
    assert [unit.state for unit in installed(folder, BROKER)] == [State.MISSING] * 2
    write(folder)
    assert [unit.state for unit in installed(folder, BROKER)] == [State.FINE] * 2
    assert sorted(path.name for path in folder.iterdir()) == ["broker.service", "broker.socket"]


def test_what_another_place_or_version_wrote_is_older(folder: Path) -> None:
    """It is ours as it was, so an upgrade may replace it unasked."""
    write(folder, Path("/old/bin/broker"))
    assert service(folder).state is State.OLDER
    assert '-ExecStart="/old/bin/broker" run\n' in service(folder).difference()
    assert '+ExecStart="/opt/venv/bin/broker" run\n' in service(folder).difference()


@pytest.mark.parametrize("change", ["Nice=1\n", " ", "\n"])
def test_one_that_a_person_edited_is_theirs(folder: Path, change: str) -> None:
    """However small the change: replacing it would lose it."""
    write(folder)
    path = service(folder).path
    path.write_text(path.read_text() + change)
    assert service(folder).state is State.EDITED
    assert service(folder).is_a_persons


def test_one_that_we_did_not_write_is_foreign(folder: Path) -> None:
    """A unit copied by hand, an empty one, bytes, a folder, a FIFO: none blocks, none is taken for ours."""
    folder.mkdir(parents=True)
    path = folder / "broker.service"
    for content in (b"[Service]\nExecStart=/bin/true\n", b"", b"\xff\xfe"):
        path.write_bytes(content)
        assert service(folder).state is State.FOREIGN
    path.unlink()
    path.mkdir()
    assert service(folder).state is State.FOREIGN
    path.rmdir()
    os.mkfifo(path)
    assert service(folder).state is State.FOREIGN


def test_a_link_is_foreign_wherever_it_leads(folder: Path, tmp_path: Path) -> None:
    """A dotfile manager's, or systemd's own mask: the thing behind it is not ours to write."""
    write(folder)
    path = service(folder).path
    kept = tmp_path / "kept"
    path.rename(kept)
    for target in (kept, Path(os.devnull), Path("/nonexistent")):
        path.unlink(missing_ok=True)
        path.symlink_to(target)
        assert service(folder).state is State.FOREIGN


def test_replacing_a_persons_file_keeps_it(folder: Path, tmp_path: Path) -> None:
    """Even by force nothing is lost, and what a link leads to is not touched."""
    folder.mkdir(parents=True)
    target = tmp_path / "theirs"
    target.write_text("theirs\n")
    (folder / "broker.service").symlink_to(target)
    kept = service(folder).write()
    assert kept == folder / "broker.service.bak"
    assert kept.readlink() == target
    assert target.read_text() == "theirs\n"
    assert service(folder).state is State.FINE


def test_a_file_that_cannot_be_replaced_is_found_before_anything_is_changed(folder: Path) -> None:
    """A read-only unit, as a configuration manager leaves it, is meant so."""
    write(folder, Path("/old/bin/broker"))
    service(folder).check()
    service(folder).path.chmod(0o444)
    with pytest.raises(FileProblem, match="is read-only"):
        service(folder).check()


def test_removing_leaves_no_empty_folder_and_no_persons_file_goes(folder: Path, tmp_path: Path) -> None:
    """The folders go with the last unit, unless they hold something else."""
    write(folder)
    first, second = installed(folder, BROKER)
    first.remove()
    assert folder.is_dir()
    (tmp_path / "systemd" / "mine").touch()
    second.remove()
    second.remove()
    assert [path.name for path in (tmp_path / "systemd").iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("/opt/venv/bin/broker", 'ExecStart="/opt/venv/bin/broker" run'),
        ("/home/me/my apps/broker", 'ExecStart="/home/me/my apps/broker" run'),
        ("/home/100%h/$HOME/broker", 'ExecStart=:"/home/100%%h/$HOME/broker" run'),
        ("/home/jürgen/broker", 'ExecStart="/home/jürgen/broker" run'),
    ],
)
def test_a_path_is_written_as_systemd_reads_it(folder: Path, path: str, line: str) -> None:
    """Blanks, specifiers and variables; what systemd makes of it is tested on systemd (tests/real)."""
    assert exec_start(folder, Path(path)) == line


@given(st.text(st.characters(exclude_characters="\"'\\/"), min_size=1))
def test_no_path_brings_a_directive_of_its_own(name: str) -> None:
    """A line feed in a folder's name would: whatever it is called, it is refused or stays on its line."""
    try:
        text = service(Path("/nonexistent"), Path("/opt") / name / "broker").wanted
    except UnsafePath:
        return
    plain = service(Path("/nonexistent"), BROKER).wanted
    assert len(text.splitlines()) == len(plain.splitlines())


@pytest.mark.parametrize("name", ["a\nExecStartPre=/bin/evil", 'a"b', "o'brien", "a\\b", "a\x7f", "\udcff"])
def test_a_path_that_systemd_cannot_start_is_refused(folder: Path, name: str) -> None:
    """Before anything is written, with what to do."""
    with pytest.raises(UnsafePath, match="install the package elsewhere"):
        installed(folder, Path("/opt") / name / "broker")


def test_the_program_is_this_installations(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The `broker` beside this interpreter; without one there is nothing that a service could start."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(UnsafePath, match="is missing"):
        systemd_units.program()
    (tmp_path / "broker").touch(mode=0o755)
    assert systemd_units.program() == tmp_path / "broker"


def test_the_folder_is_the_users(tmp_path: Path) -> None:
    """Where the manager looks first (systemd.unit(5))."""
    assert systemd_units.folder({"HOME": "/home/me", "BROKER_CONFIG": "/x"}) == Path("/home/me/.config/systemd/user")
    assert systemd_units.folder({"HOME": "/home/me", "XDG_CONFIG_HOME": "/c"}) == Path("/c/systemd/user")
