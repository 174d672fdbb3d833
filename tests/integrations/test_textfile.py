"""Replacing a file of somebody else's: whole or not at all, and with everything that is not its text."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from broker.integrations import textfile
from broker.integrations.textfile import ChangedMeanwhile, FileProblem


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give a settings file as a person may have it."""
    file = tmp_path / "settings.json"
    file.write_bytes(b"\xef\xbb\xbf{}\r\n")
    file.chmod(0o640)
    return file


def test_bytes_and_mode_stay(path: Path) -> None:
    """Byte-order mark, line ends and permissions are the person's."""
    file = textfile.read(path)
    assert file.text == "\ufeff{}\r\n"
    textfile.replace(file, "\ufeff{ }\r\n")
    assert path.read_bytes() == b"\xef\xbb\xbf{ }\r\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_extended_attributes_and_group_stay(path: Path) -> None:
    """Access lists are such attributes; the time of change is the true one."""
    try:
        os.setxattr(path, "user.note", b"mine")
    except OSError:
        pass  # this file system has none: the rest is still promised
    else:
        textfile.replace(textfile.read(path), "{1}")
        assert os.getxattr(path, "user.note") == b"mine"
    os.utime(path, (1, 1))
    if os.geteuid() == 0:
        os.chown(path, -1, 1)
    group = path.stat().st_gid
    textfile.replace(textfile.read(path), "{2}")
    assert path.stat().st_gid == group
    assert path.stat().st_mtime > 1


def test_a_link_stays_a_link(path: Path, tmp_path: Path) -> None:
    """Dotfile managers make them: what they lead to is what changes."""
    link = tmp_path / "home" / "settings.json"
    link.parent.mkdir()
    link.symlink_to("../settings.json")
    textfile.replace(textfile.read(link), "{1}")
    assert link.is_symlink()
    assert path.read_text() == "{1}"


def test_a_dangling_link_gets_its_file(tmp_path: Path) -> None:
    """The folder of the target is made, too."""
    link = tmp_path / "settings.json"
    link.symlink_to("dotfiles/claude.json")
    textfile.replace(textfile.read(link), "{}")
    assert (tmp_path / "dotfiles" / "claude.json").read_text() == "{}"
    assert link.is_symlink()


def test_a_new_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    """It may get secrets later."""
    path = tmp_path / ".claude" / "settings.json"
    textfile.replace(textfile.read(path), "{}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    textfile.replace(textfile.read(path), None)
    assert not path.exists()


@pytest.mark.parametrize("text", ["{1}", None])
def test_what_somebody_else_wrote_meanwhile_is_not_lost(path: Path, text: str | None) -> None:
    """Claude Code itself writes its settings: the later look wins, and nothing is left behind."""
    file = textfile.read(path)
    path.write_text("{other}")
    with pytest.raises(ChangedMeanwhile, match="run this again"):
        textfile.replace(file, text)
    assert path.read_text() == "{other}"
    assert list(path.parent.iterdir()) == [path]


def test_a_crash_before_the_rename_leaves_the_old_text(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the next run removes what it left, instead of failing on it."""

    def crash(_self: Path, _target: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", crash)
        with pytest.raises(KeyboardInterrupt):
            textfile.replace(textfile.read(path), "{1}")
    assert path.read_text() == "\ufeff{}\n"
    path.with_name(".settings.json.broker-new").write_text("left by a kill")
    textfile.replace(textfile.read(path), "{1}")
    assert [file.name for file in path.parent.iterdir()] == ["settings.json"]


def test_a_full_disk_leaves_the_old_text(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says which file and why."""

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileProblem, match=r"settings\.json: cannot be written \(No space left on device\)"):
        textfile.replace(textfile.read(path), "{1}")
    assert path.read_bytes() == b"\xef\xbb\xbf{}\r\n"
    assert list(path.parent.iterdir()) == [path]


def test_what_is_no_text_file_is_refused_at_once(tmp_path: Path) -> None:
    """A FIFO does not block, a folder and a loop of links have their line."""
    fifo, folder, loop, binary = (tmp_path / name for name in ("fifo", "folder", "loop", "binary"))
    os.mkfifo(fifo)
    folder.mkdir()
    loop.symlink_to("loop")
    binary.write_bytes(b"\xff\xfe{\x00}\x00")
    for path, said in (
        (fifo, "must be a regular file"),
        (folder, "must be a regular file"),
        (Path("/dev/null"), "must be a regular file"),
        (loop, "cannot be opened"),
        (binary, "not UTF-8"),
    ):
        with pytest.raises(FileProblem, match=said):
            textfile.read(path)


def test_what_may_not_be_replaced_is_found_out_before(path: Path, tmp_path: Path) -> None:
    """Read-only, too large, or in a folder that is none: said while nothing is changed yet."""
    path.chmod(0o440)
    with pytest.raises(FileProblem, match="is read-only"):
        textfile.check_replaceable(textfile.read(path))
    large = tmp_path / "large.json"
    large.write_bytes(b" " * (textfile.SIZE_MAX + 1))
    with pytest.raises(FileProblem, match="larger than 1 MiB"):
        textfile.read(large)
    with pytest.raises(FileProblem, match="cannot be opened"):
        textfile.read(path / "settings.json")
    textfile.check_replaceable(textfile.read(tmp_path / "new" / "settings.json"))


def test_a_folder_that_cannot_be_written_is_found_out_before(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may write anywhere, so the answer of access(2) is a made-up one."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(FileProblem, match=f"the folder {path.parent} cannot be written"):
        textfile.check_replaceable(textfile.read(path))


def test_a_file_of_somebody_else_stays_theirs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replaced file would silently become ours."""
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(FileProblem, match=f"belongs to uid {owner}"):
        textfile.check_replaceable(textfile.read(path))


def test_two_at_once_do_not_mix(tmp_path: Path) -> None:
    """The second is told to try again."""
    with textfile.only_one(tmp_path), pytest.raises(ChangedMeanwhile, match="try again"), textfile.only_one(tmp_path):
        pass
    with textfile.only_one(tmp_path):
        shutil.rmtree(tmp_path)
