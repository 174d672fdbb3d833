"""The locks on socket and state folder: one holder at a time, and everybody can see who it is."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from broker import locks
from broker.errors import UnsafePath


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder of one's own."""
    tmp_path.chmod(0o700)
    return tmp_path


def test_second_daemon_is_told_of_the_first(folder: Path) -> None:
    """A lock is held by one process at a time, and freed by its death."""
    code = f"from broker import locks; from pathlib import Path; locks.take(Path({str(folder)!r}), 'x')"
    held = locks.take(folder, "x")
    refused = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "AlreadyRunning" in refused.stderr
    os.close(held)
    subprocess.run([sys.executable, "-c", code], check=True)


def test_open_folder_is_refused(folder: Path) -> None:
    """A folder that others can enter is no place for a lock; the message has the chmod."""
    folder.chmod(0o755)
    with pytest.raises(UnsafePath, match="chmod 700"):
        locks.take(folder, "x")


def test_a_lock_names_its_holder(folder: Path) -> None:
    """And says when that one drains; a free lock has no holder, whatever its file still says."""
    assert locks.holder(folder / "x") is None
    held = locks.take(folder, "x")
    assert locks.holder(folder / "x") == locks.Holder(os.getpid(), stopping=False)
    locks.say_stopping(held)
    assert locks.holder(folder / "x") == locks.Holder(os.getpid(), stopping=True)
    os.close(held)
    assert locks.holder(folder / "x") is None
    again = locks.take(folder, "x")
    assert locks.holder(folder / "x") == locks.Holder(os.getpid(), stopping=False)
    os.close(again)


@pytest.mark.parametrize("content", [b"", b"-1", b"\xff\x00", b"1" * 100 + b"x", b"stopping"])
def test_a_holder_that_does_not_name_itself_is_nobody_in_particular(folder: Path, content: bytes) -> None:
    """Never a wrong pid: `broker stop` would signal it."""
    held = locks.take(folder, "x")
    (folder / "x").write_bytes(content)
    assert locks.holder(folder / "x") == locks.Holder(0, stopping=False)
    os.close(held)


def test_a_full_disk_is_no_reason_not_to_hold_a_lock(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It only cannot say who holds it."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    held = locks.take(folder, "x")
    assert locks.holder(folder / "x") == locks.Holder(0, stopping=False)
    os.close(held)
