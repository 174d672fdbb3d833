"""The audit trail goes on wherever a crash, a full disk or another program left it, and loses no line that it wrote."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import UnsafePath
from broker.storage.audit import files
from broker.storage.audit.chain import GENESIS, LINE_MAX, SEQ_MAX, TEXT_MAX, Malformed, parse, seal
from broker.storage.audit.proof import verify
from broker.storage.audit.trail import Trail
from tests.storage.test_audit_proof import FILE_MAX, KEY, entries, folder, lines, raw_lines, written

__all__ = ["folder"]


# --- one line -------------------------------------------------------------------------------------------------------

texts = st.text(max_size=2 * TEXT_MAX)
facts = st.dictionaries(st.sampled_from(["event", "credential", "program", "reason"]), texts)


@given(facts, st.floats(allow_nan=True), st.integers(1, SEQ_MAX))
def test_any_facts_become_one_printable_line(said: dict[str, str], at: float, seq: int) -> None:
    """Whatever a program is called and whatever an error says: one line of bounded length in ASCII, and proven."""
    raw, link = seal(KEY, seq, GENESIS, at, said)
    assert raw.endswith(b"\n")
    assert all(0x20 <= byte < 0x7F for byte in raw[:-1])
    assert len(raw) < LINE_MAX
    line = parse(raw[:-1])
    assert (line.link, line.is_proven(KEY, GENESIS)) == (link, True)
    for name, text in said.items():
        assert len(line.facts[name]) <= TEXT_MAX
        assert line.facts[name].isprintable()
        if text.isprintable() and len(text) <= TEXT_MAX:
            assert line.facts[name] == text


@given(st.binary(min_size=1, max_size=200))
def test_what_is_no_line_is_refused(raw: bytes) -> None:
    """Never by any other error, however close it comes."""
    genuine = seal(KEY, 1, GENESIS, 0.0, {"event": "served"})[0][:-1]
    for bad in (raw, raw + genuine, genuine + raw, raw + genuine[-80:]):
        with pytest.raises(Malformed):
            parse(bad)


@pytest.mark.parametrize(
    "whole",
    ["[1]", '{"seq":true}', '{"seq":0}', '{"seq":-1}', '{"seq":9007199254740993}', '{"seq":1,"key":1}', '{"seq":"1"}'],
)
def test_what_only_looks_like_a_line_is_refused(whole: str) -> None:
    """JSON of another shape, with something like a MAC at its end."""
    mac = ',"mac":"' + "0" * 64 + '"}'
    with pytest.raises(Malformed):
        parse((whole[:-1] + mac).encode())
    deep = b'{"a":' + b"[" * 15_000 + mac.encode()
    with pytest.raises(Malformed):
        parse(deep)


# --- files ----------------------------------------------------------------------------------------------------------


def test_the_files_are_the_owners_alone(folder: Path) -> None:
    """0600, even where somebody opened them to others."""
    end = written(folder, 1)
    files.current(folder).chmod(0o644)
    written(folder, 30, known=end)
    assert {stat.S_IMODE(path.stat().st_mode) for path in files.present(folder)} == {0o600}


def test_the_first_line_of_every_file_says_what_it_continues(folder: Path) -> None:
    """Number, MAC and key of the line before; of the very first, that nothing was."""
    written(folder, 60)
    before = None
    for path in files.present(folder):
        all_lines = [parse(raw) for raw in files.read(path).split(b"\n")[:-1]]
        first = all_lines[0].facts
        assert first["event"] == "opened"
        if before is not None:
            assert (first["after"], first["prev"], first["prev_key"]) == (before.seq, before.mac, before.key)
            assert first["reason"] == "the file was full"
        before = all_lines[-1]
    assert before is not None


def test_the_trail_takes_a_bounded_place(folder: Path) -> None:
    """However much happens."""
    written(folder, 400)
    sizes = [path.stat().st_size for path in files.present(folder)]
    assert len(sizes) == 1 + files.OLDER_MAX
    assert max(sizes) <= FILE_MAX


@pytest.mark.parametrize("made", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/null")])
def test_what_is_no_file_is_not_written_to(folder: Path, made: Callable[[Path], object]) -> None:
    """A link, a FIFO or a folder in its place: an error that says what to do, at once."""
    made(files.current(folder))
    with pytest.raises((UnsafePath, OSError), match=r"move it away|Is a directory|symbolic links|No such device"):
        Trail(folder, KEY, None)


def test_a_folder_open_to_others_is_refused(folder: Path) -> None:
    """They could put a file of theirs there."""
    folder.chmod(0o755)
    with pytest.raises(UnsafePath, match="chmod 700"):
        Trail(folder, KEY, None)


@pytest.mark.parametrize("numbers", [[], [1], [1, 2], [2], [3, 7], [1, 3, 4]])
def test_rotation_overwrites_no_file(tmp_path: Path, numbers: list[int]) -> None:
    """Also where a crash or somebody left gaps between the older files."""
    for number in numbers:
        (tmp_path / f"audit.jsonl.{number}").write_text(str(number))
    files.current(tmp_path).write_text("new")
    files.rotate(tmp_path)
    found = [path.read_text() for path in files.present(tmp_path)]
    assert found == [*(str(number) for number in reversed(numbers)), "new"]
    assert not files.current(tmp_path).exists()


# --- going on -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("disturb", "reason"),
    [
        (lambda path: path.unlink(), "the file was gone"),
        (lambda path: path.rename(path.with_name("moved")), "the file was gone"),
        (lambda path: path.write_bytes(b""), "the file was changed"),
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), "the file was changed"),
        (lambda path: path.rename(path.with_name("a")) and path.write_bytes(b"{}"), "the file was replaced"),
    ],
)
def test_another_program_at_the_file_is_noticed(folder: Path, disturb: Callable[[Path], object], reason: str) -> None:
    """The trail goes on in a new file that says so; what was left of the old one is kept, and found by `--verify`."""
    trail = Trail(folder, KEY, None)
    trail.append(entries(3))
    disturb(files.current(folder))
    trail.append(entries(2))
    trail.close()
    opened, *rest = (parse(raw) for raw in files.read(files.current(folder)).split(b"\n")[:-1])
    assert (opened.facts["reason"], opened.facts["after"], [line.seq for line in rest]) == (reason, 4, [6, 7])
    assert not verify(folder, KEY, end=trail.link).intact


def test_a_write_that_failed_halfway_is_taken_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk takes part of a line: nothing of it stays, and the same lines can be written again."""
    trail = Trail(folder, KEY, None)
    before = raw_lines(folder)
    real, calls = os.write, 0

    def full(descriptor: int, data: bytes) -> int:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, bytes(data)[:40])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            trail.append(entries(2))
    assert raw_lines(folder) == before
    assert files.current(folder).read_bytes().endswith(b"\n")
    trail.append(entries(2))
    assert verify(folder, KEY, end=trail.link).findings == ()
    trail.close()


def test_even_what_could_not_be_taken_back_at_once_is_no_alarm_later(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk went away altogether for a while."""
    trail = Trail(folder, KEY, None)
    real = os.write

    def failing(descriptor: int, data: bytes) -> int:
        real(descriptor, bytes(data)[:40])
        raise OSError(errno.EIO, "Input/output error")

    def stuck(_descriptor: int, _size: int) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", failing)
        patch.setattr(os, "ftruncate", stuck)
        with pytest.raises(OSError, match="Input/output"):
            trail.append(entries(1))
    trail.append(entries(1))
    assert verify(folder, KEY, end=trail.link).findings == ()
    assert len(files.present(folder)) == 1
    trail.close()


@pytest.mark.parametrize("step", ["rename", "open", "write", "unlink"])
def test_a_rotation_that_fails_anywhere_loses_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """It is tried again, and the chain holds."""
    end = written(folder, 60)
    trail = Trail(folder, KEY, end, file_max=FILE_MAX)
    target = Path if step in ("rename", "unlink") else os

    def failing(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    while trail._size < FILE_MAX - 200:
        trail.append(entries(1))
    with monkeypatch.context() as patch:
        patch.setattr(target, step, failing)
        if step == "unlink":
            trail.append(entries(3))
        else:
            with pytest.raises(OSError, match="No space"):
                trail.append(entries(3))
    trail.append(entries(3))
    assert verify(folder, KEY, end=trail.link).findings == ()
    trail.close()
    again = Trail(folder, KEY, trail.link, file_max=FILE_MAX)
    assert verify(folder, KEY, end=again.link).findings == ()
    again.close()


def test_a_crash_between_two_steps_of_a_rotation_breaks_nothing(folder: Path) -> None:
    """The file was renamed, the new one not made yet."""
    end = written(folder, 5)
    files.rotate(folder)
    end = written(folder, 2, known=end)
    assert verify(folder, KEY, end=end).findings == ()
    assert [path.name for path in files.present(folder)] == ["audit.jsonl.1", "audit.jsonl"]


def test_a_failed_change_of_keys_is_made_up_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No line stands under the new key before the one that says what it continues."""
    trail = Trail(folder, KEY, None)
    other = type(KEY)(b"o" * 32, kept=True)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
        with pytest.raises(OSError, match="No space"):
            trail.rekey(other, None)
    trail.append(entries(2))
    assert [line.event for line in lines(folder)] == ["opened", "opened", "served", "served"]
    assert verify(folder, other, end=trail.link).findings == ()
    trail.close()


def test_a_trail_that_cannot_be_opened_holds_no_descriptor(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again every second, for as long as it takes."""
    written(folder, 1)
    before = len(list(Path("/proc/self/fd").iterdir()))
    monkeypatch.setattr(os, "write", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
    for _ in range(3):
        with pytest.raises(OSError, match="No space"):
            Trail(folder, KEY, None)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_lines_are_json_that_any_tool_reads(folder: Path) -> None:
    """One object a line, with the time in UTC."""
    written(folder, 1)
    line = json.loads(raw_lines(folder)[1])
    assert line == {
        "seq": 2,
        "at": "2027-01-15T08:00:00.000Z",
        "key": KEY.id,
        "event": "served",
        "credential": "work-0",
        "mac": line["mac"],
    }
