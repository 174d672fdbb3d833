"""What a person allowed is kept as it was written, or not at all."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from broker.errors import StorageError, UnsafePath
from broker.storage import pins

A = ("/a/.claude/settings.json", "a" * 64)
B = ("/b/.claude/settings.json", "b" * 64)


def test_pins_are_added_and_removed(tmp_path: Path) -> None:
    """In a file of the user's own (0600), in a folder of the user's own."""
    state = tmp_path / "state"
    assert pins.read(state) == frozenset()
    assert pins.change(state, add=[A, B]) == {A, B}
    assert pins.read(state) == {A, B}
    assert (state / pins.NAME).stat().st_mode & 0o777 == 0o600
    assert pins.change(state, remove=lambda pin: pins.is_below(pin, "/a")) == {B}
    assert pins.read(state) == {B}
    assert sorted(path.name for path in state.iterdir()) == ["allowed.json", "allowed.lock"]


def test_nothing_is_written_where_nothing_changes(tmp_path: Path) -> None:
    """The daemon would look at everything again."""
    pins.change(tmp_path / "s", add=[A])
    before = (tmp_path / "s" / pins.NAME).stat()
    pins.change(tmp_path / "s", add=[A], remove=lambda _pin: False)
    assert (tmp_path / "s" / pins.NAME).stat() == before


@pytest.mark.parametrize(
    ("folder", "below"), [("/a", True), ("/a/", True), ("/", True), ("/a/.claude", True), ("/ab", False), ("/b", False)]
)
def test_below_means_by_whole_names(folder: str, below: bool) -> None:  # noqa: FBT001  # a table
    """`/ab` is not below `/a`."""
    assert pins.is_below(A, folder) is below


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is not JSON"),
        (b'{"version": 1, "allowed": [', "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[]", "is of another version"),
        (b'{"version": 2, "allowed": []}', "is of another version"),
        (b'{"version": 1}', "has no list of allowed files"),
        (b'{"version": 1, "allowed": [1]}', "has an entry that is none"),
        (b'{"version": 1, "allowed": [{"path": "x", "sha256": "%s"}]}' % (b"a" * 64), "has an entry that is none"),
        (b'{"version": 1, "allowed": [{"path": "/x", "sha256": "a"}]}', "has an entry that is none"),
        (b" " * (pins.SIZE_MAX + 1), "is larger than 1 MiB"),
    ],
)
def test_a_file_that_is_not_ours_allows_nothing(tmp_path: Path, content: bytes, why: str) -> None:
    """And is neither believed in part nor overwritten: the message says what to do."""
    path = tmp_path / pins.NAME
    tmp_path.chmod(0o700)
    path.write_bytes(content)
    told = rf"{why}, so no project is allowed; remove it"
    with pytest.raises(StorageError, match=told):
        pins.read(tmp_path)
    with pytest.raises(StorageError, match=told):
        pins.change(tmp_path, add=[A])
    assert path.read_bytes() == content


def test_what_cannot_be_read_or_written_says_so(tmp_path: Path) -> None:
    """With the file's name."""
    tmp_path.chmod(0o700)
    (tmp_path / pins.NAME).mkdir()
    with pytest.raises(StorageError, match=rf"{tmp_path / pins.NAME}: cannot be read"):
        pins.read(tmp_path)
    with pytest.raises(StorageError, match="would be larger than 1 MiB"):
        pins.change(tmp_path / "s", add=[(f"/{number}", "a" * 64) for number in range(20_000)])
    tmp_path.chmod(0o755)
    with pytest.raises(UnsafePath):
        pins.change(tmp_path, add=[A])


@pytest.mark.parametrize("fails", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    """A full disk, a power cut: all or nothing, and nothing is left lying about."""
    state = tmp_path / "s"
    pins.change(state, add=[A])

    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os if fails == "fsync" else Path, fails, full)
    with pytest.raises(StorageError, match="cannot be written: No space left on device"):
        pins.change(state, add=[B])
    monkeypatch.undo()
    assert pins.read(state) == {A}
    assert sorted(path.name for path in state.iterdir()) == ["allowed.json", "allowed.lock"]


def test_two_at_a_time_lose_nothing(tmp_path: Path) -> None:
    """Scripts allow many projects at once."""
    all_ = [(f"/{number}/.claude/settings.json", "c" * 64) for number in range(8)]
    threads = [threading.Thread(target=pins.change, args=(tmp_path / "s",), kwargs={"add": [pin]}) for pin in all_]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert pins.read(tmp_path / "s") == set(all_)
    assert json.loads((tmp_path / "s" / pins.NAME).read_text())["version"] == 1
