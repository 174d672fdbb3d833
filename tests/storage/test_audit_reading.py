"""The last lines, and new ones as they come, wherever the files go meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.errors import UnsafePath
from broker.storage.audit import Follower, files, last_lines, reading
from broker.storage.audit.chain import LINE_MAX
from broker.storage.audit.trail import Trail
from tests.storage.test_audit_proof import FILE_MAX, KEY, entries, folder, raw_lines, written

__all__ = ["folder"]


@pytest.fixture
def trail(folder: Path) -> Iterator[Trail]:
    """Give a trail to write to."""
    made = Trail(folder, KEY, None, file_max=FILE_MAX)
    yield made
    made.close()


@pytest.fixture
def follower(trail: Trail, folder: Path) -> Iterator[Follower]:
    """Follow it from its first line on."""
    made = Follower(folder)
    yield made
    made.close()


@pytest.mark.parametrize("count", [0, 1, 7, 1000])
def test_the_last_lines_come_from_as_many_files_as_it_takes(folder: Path, count: int) -> None:
    """The oldest first, as they stand there."""
    written(folder, 40)
    everything = raw_lines(folder)
    assert last_lines(folder, count) == (everything[-count:] if count else [])


def test_a_part_of_a_line_is_none(folder: Path) -> None:
    """What a crash left, or what is being written."""
    written(folder, 1)
    with files.current(folder).open("ab") as file:
        file.write(b'{"seq":3')
    assert len(last_lines(folder, 10)) == 2


def test_no_trail_has_no_lines(tmp_path: Path) -> None:
    """Not even a folder."""
    assert last_lines(tmp_path / "nowhere", 10) == []
    assert list(Follower(tmp_path / "nowhere").new()) == []


def test_a_file_made_older_in_between_is_skipped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No error for what is only a matter of moments."""
    written(folder, 2)
    there = [folder / "audit.jsonl.7", files.current(folder)]
    monkeypatch.setattr(files, "present", lambda _folder: there)
    assert len(last_lines(folder, 10)) == 3


def test_new_lines_are_followed(trail: Trail, follower: Follower, folder: Path) -> None:
    """Each once, whole, in order."""
    assert list(follower.new()) == []
    trail.append(entries(2))
    trail.append(entries(1))
    assert list(follower.new()) == raw_lines(folder)[1:]
    assert list(follower.new()) == []


def test_rotations_are_followed(trail: Trail, follower: Follower, folder: Path) -> None:
    """One or several between two looks: no line is missed, none comes twice."""
    seen = []
    for count in (3, 12, 30, 1, 14):
        for entry in entries(count):
            trail.append([entry])
        seen += list(follower.new())
    assert [raw for raw in raw_lines(folder) if raw in seen] == raw_lines(folder)[-len(seen) :]
    assert len(seen) == len(set(seen)) == trail.link.seq - 1


def test_a_trail_that_begins_anew_is_followed(trail: Trail, follower: Follower, folder: Path) -> None:
    """Somebody moved all of it away; also one that was not there when we began."""
    trail.append(entries(1))
    assert len(list(follower.new())) == 1
    files.current(folder).rename(folder / "kept-elsewhere")
    assert list(follower.new()) == []
    trail.append(entries(1))
    assert list(follower.new()) == raw_lines(folder)


def test_a_torn_line_that_is_taken_back_is_never_shown(trail: Trail, follower: Follower, folder: Path) -> None:
    """The daemon was killed as it wrote; the next one takes the part away and goes on."""
    trail.append(entries(1))
    with files.current(folder).open("ab") as file:
        file.write(b'{"seq":3,"at":')
    assert len(list(follower.new())) == 1
    trail.close()
    again = Trail(folder, KEY, trail.link, file_max=FILE_MAX)
    again.append(entries(1))
    again.close()
    assert list(follower.new()) == raw_lines(folder)[2:]


def test_a_file_cut_short_is_followed_from_its_end(trail: Trail, follower: Follower, folder: Path) -> None:
    """Whoever did that; what comes then is shown."""
    trail.append(entries(3))
    assert len(list(follower.new())) == 3
    with files.current(folder).open("r+b") as file:
        file.truncate(10)
    assert list(follower.new()) == []
    with files.current(folder).open("ab") as file:
        file.write(b"\n")
    assert len(list(follower.new())) <= 1


def test_a_file_that_cannot_be_a_trail_is_an_error(follower: Follower, folder: Path) -> None:
    """Not a reader that fills the memory."""
    with files.current(folder).open("ab") as file:
        file.write(b"x" * (LINE_MAX + 1))
    with pytest.raises(UnsafePath, match="too long"):
        list(follower.new())


def test_following_waits_for_more(
    trail: Trail, follower: Follower, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And never ends by itself."""
    waits = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        trail.append(entries(1))

    monkeypatch.setattr(time, "sleep", wait)
    lines = follower.lines()
    assert [next(lines), next(lines)] == raw_lines(folder)[1:]
    assert waits == [reading.POLL_S] * 2
