"""What is done to an audit trail without its key is found; what cannot be proven is said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from broker.storage.audit import files
from broker.storage.audit.chain import Key, Line, Link, parse, seal
from broker.storage.audit.proof import FINDINGS_MAX, Verdict, verify
from broker.storage.audit.trail import Entry, Trail

KEY = Key(b"k" * 32, kept=True)
OTHER = Key(b"o" * 32, kept=True)
FILE_MAX = 3000
"""So small that a few dozen lines fill several files."""


def entries(count: int, *, event: str = "served") -> list[Entry]:
    """Make what happened, each thing different from the others."""
    return [Entry(1_800_000_000.0 + n, {"event": event, "credential": f"work-{n}"}) for n in range(count)]


def written(folder: Path, *runs: int, key: Key = KEY, known: Link | None = None) -> Link:
    """Write a trail by one daemon after the other, each of so many lines; return its end."""
    link = known or Link()
    for count in runs:
        trail = Trail(folder, key, known, file_max=FILE_MAX)
        for entry in entries(count):
            trail.append([entry])
        link = known = trail.link
        trail.close()
    return link


def raw_lines(folder: Path) -> list[bytes]:
    """Return every line, the oldest first."""
    return [raw for path in files.present(folder) for raw in files.read(path).split(b"\n")[:-1]]


def lines(folder: Path) -> list[Line]:
    """Return every line, read."""
    return [parse(raw) for raw in raw_lines(folder)]


def rewritten(folder: Path, raw: Sequence[bytes]) -> None:
    """Put these lines in the trail's place, in one file."""
    for path in files.present(folder):
        path.unlink()
    files.current(folder).write_bytes(b"".join(line + b"\n" for line in raw))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a state folder."""
    made = tmp_path / "state"
    made.mkdir(mode=0o700)
    return made


def found(verdict: Verdict) -> str:
    """Return all that was found."""
    return " | ".join(verdict.findings)


@pytest.mark.parametrize("runs", [(1,), (5,), (5, 0, 3), (30, 30), (200,)])
def test_a_trail_that_nobody_touched_is_proven_whole(folder: Path, runs: Sequence[int]) -> None:
    """Over rotations and restarts; every line that is kept counts."""
    end = written(folder, *runs)
    for verdict in (verify(folder, KEY, end=end), verify(folder, KEY, known=end)):
        assert verdict.findings == ()
        assert verdict.proven == verdict.lines == len(raw_lines(folder)) > 0
    assert len(files.present(folder)) <= 1 + files.OLDER_MAX


def test_no_trail_is_no_alarm_before_there_was_one(folder: Path) -> None:
    """A new installation has nothing to prove."""
    assert verify(folder, KEY).intact


def test_a_trail_that_is_gone_is_found(folder: Path) -> None:
    """Where the store remembers its last line."""
    end = written(folder, 5)
    files.current(folder).unlink()
    assert found(verify(folder, KEY, known=end)) == f"numbers 1 to {end.seq} are missing at the end"


Damage = Callable[[list[bytes], int, int], list[bytes]]


def cut(raw: list[bytes], first: int, last: int) -> list[bytes]:
    """Remove lines."""
    return raw[:first] + raw[last + 1 :]


def swapped(raw: list[bytes], first: int, last: int) -> list[bytes]:
    """Change the places of two lines."""
    raw[first], raw[last] = raw[last], raw[first]
    return raw


def repeated(raw: list[bytes], first: int, last: int) -> list[bytes]:
    """Put a line in a second time."""
    return [*raw[:last], raw[first], *raw[last:]]


def forged(raw: list[bytes], first: int, last: int) -> list[bytes]:
    """Replace lines by others under a key of one's own, which end with the very MAC of the last that they replace."""
    before = parse(raw[first - 1]).mac if first else "0" * 64
    made = []
    for number in range(first, last + 1):
        line, link = seal(OTHER, parse(raw[number]).seq, before, 0.0, {"event": "served", "credential": "harmless"})
        made.append(line.rstrip(b"\n"))
        before = link.mac
    made[-1] = made[-1][:-66] + raw[last][-66:]
    return raw[:first] + made + raw[last + 1 :]


def keyless(raw: list[bytes], first: int, last: int) -> list[bytes]:
    """Say something else in lines and leave their MACs as they are."""
    return [line.replace(b"work", b"play") if first <= at <= last else line for at, line in enumerate(raw)]


@pytest.mark.parametrize("damage", [cut, swapped, repeated, forged, keyless])
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_whatever_is_done_to_lines_without_the_key_is_found(damage: Damage, data: st.DataObject) -> None:
    """Anywhere in a trail of several files and runs; both while a daemon runs and from the command line."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        end = written(folder, 12, 7)
        raw = raw_lines(folder)
        first = data.draw(st.integers(0, len(raw) - 1))
        last = data.draw(st.integers(first, len(raw) - 1))
        changed = damage(list(raw), first, last)
        assume(changed != raw)
        rewritten(folder, changed)
        assert not verify(folder, KEY, end=end).intact
        assert not verify(folder, KEY, known=end).intact


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_whatever_byte_is_changed_is_found(data: st.DataObject) -> None:
    """One bit anywhere."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        end = written(folder, 6)
        content = bytearray(files.read(files.current(folder)))
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] ^= 1 << data.draw(st.integers(0, 7))
        files.current(folder).write_bytes(content)
        assert not verify(folder, KEY, end=end).intact
        assert not verify(folder, KEY, known=end).intact


def test_each_finding_says_where(folder: Path) -> None:
    """File, line and number: where a person has to look."""
    end = written(folder, 6)
    raw = raw_lines(folder)
    rewritten(folder, keyless(raw, 3, 3))
    assert found(verify(folder, KEY, end=end)) == "audit.jsonl, line 4: number 4 was changed since it was written"
    rewritten(folder, cut(raw, 2, 3))
    assert found(verify(folder, KEY, end=end)) == "audit.jsonl, line 3: numbers 3 to 4 are missing before it"
    rewritten(folder, raw[:-2])
    assert found(verify(folder, KEY, end=end)) == "numbers 6 to 7 are missing at the end"
    rewritten(folder, [*raw[:3], b"{}", *raw[3:]])
    assert found(verify(folder, KEY, end=end)) == "audit.jsonl, line 4: no line of an audit trail"


def test_an_older_file_that_is_missing_is_found(folder: Path) -> None:
    """The proven opening of the present file says which line the oldest one began with."""
    end = written(folder, 30)
    oldest = files.present(folder)[0]
    last = parse(files.read(oldest).split(b"\n")[-2]).seq
    oldest.unlink()
    assert found(verify(folder, KEY, end=end)) == f"numbers 1 to {last} are missing at the beginning"


def test_older_files_that_were_not_deleted_yet_are_no_alarm(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon killed between a rotation and the deletion leaves some; the next rotation deletes them."""
    with monkeypatch.context() as patch:
        patch.setattr(files, "prune", lambda _folder: None)
        end = written(folder, 100)
    assert len(files.older(folder)) > files.OLDER_MAX
    assert verify(folder, KEY, end=end).findings == ()
    end = written(folder, 30, known=end)
    assert len(files.older(folder)) == files.OLDER_MAX
    assert verify(folder, KEY, end=end).findings == ()


def test_an_old_copy_of_the_whole_trail_is_found(folder: Path) -> None:
    """Every line of it is genuine; but the store remembers a later one."""
    written(folder, 5)
    old = files.current(folder).read_bytes()
    end = written(folder, 3, known=lines(folder)[-1].link)
    files.current(folder).write_bytes(old)
    assert found(verify(folder, KEY, known=end)) == "numbers 7 to 10 are missing at the end"


def test_what_was_cut_before_a_restart_stays_found(folder: Path) -> None:
    """The next daemon counts on from what the store remembers: it does not close the gap."""
    end = written(folder, 5)
    rewritten(folder, raw_lines(folder)[:3])
    end = written(folder, 2, known=end)
    assert found(verify(folder, KEY, end=end)) == "audit.jsonl, line 4: numbers 4 to 6 are missing before it"


def test_a_torn_last_line_is_no_alarm(folder: Path) -> None:
    """`kill -9` in the middle of a write leaves one; it is said, and the next daemon takes it away and notes it."""
    end = written(folder, 3)
    with files.current(folder).open("ab") as file:
        file.write(b'{"seq":5,"at":"20')
    verdict = verify(folder, KEY, known=end)
    assert verdict.intact
    assert "the last line is torn (17 bytes)" in " ".join(verdict.limits)
    end = written(folder, 1, known=end)
    assert verify(folder, KEY, end=end).findings == ()
    assert lines(folder)[4].facts["torn"] == 17


def test_a_file_that_cannot_be_read_is_found(folder: Path) -> None:
    """A link, a folder or a huge file in the place of an older file."""
    end = written(folder, 30)
    oldest, second, *_ = files.present(folder)
    oldest.unlink()
    oldest.symlink_to(folder / "elsewhere")
    second.unlink()
    second.mkdir()
    told = found(verify(folder, KEY, end=end))
    assert f"{oldest}: cannot be read" in told
    assert f"{second}: not a plain file of yours" in told


def test_many_findings_are_told_in_few_lines(folder: Path) -> None:
    """Of a trail that is shuffled throughout."""
    end = written(folder, 30)
    rewritten(folder, raw_lines(folder)[::-1])
    findings = verify(folder, KEY, end=end).findings
    assert len(findings) == FINDINGS_MAX + 1
    assert findings[-1].startswith("and ")


# --- what cannot be proven ------------------------------------------------------------------------------------------


def limits(verdict: Verdict) -> str:
    """Return all that is not proven."""
    return " | ".join(verdict.limits)


def test_it_says_what_a_holder_of_the_key_could_have_done(folder: Path) -> None:
    """Always: no chain proves anything against who can make it."""
    assert "could have written or rewritten any line" in limits(verify(folder, KEY, end=written(folder, 1)))


def test_it_says_what_could_be_cut_from_the_end(folder: Path) -> None:
    """Without the daemon, what came after the last remembered line."""
    written(folder, 5)
    known = lines(folder)[3].link
    rewritten(folder, raw_lines(folder)[:4])
    verdict = verify(folder, KEY, known=known)
    assert verdict.intact
    assert "lines after number 4 could have been cut" in limits(verdict)
    assert "the encrypted store remembers none" in limits(verify(folder, KEY))


def test_runs_under_another_key_are_named_as_unproven(folder: Path) -> None:
    """A daemon ran without its key for a while; the next one with it attests where it went on, not what was there."""
    end = written(folder, 3)
    written(folder, 4, key=OTHER)
    written(folder, 2, known=end)
    verdict = verify(folder, KEY, known=lines(folder)[-1].link)
    assert verdict.findings == ()
    assert (verdict.lines, verdict.proven) == (12, 7)
    assert "numbers 5 to 9 are written under another key: nothing is proven about that" in limits(verdict)


def test_own_lines_hidden_in_a_run_under_another_key_are_found(folder: Path) -> None:
    """Whoever stretches such a run over lines of ours is found: the next opening names the last line remembered."""
    end = written(folder, 3)
    written(folder, 4, key=OTHER)
    after = written(folder, 2, known=end)
    rewritten(folder, forged(raw_lines(folder), 2, 7))
    assert "not the line that was remembered as number 4" in found(verify(folder, KEY, known=after))


def test_a_trail_that_ends_under_another_key_is_not_passed_off_as_proven(folder: Path) -> None:
    """Nobody attests its last lines."""
    end = written(folder, 3)
    written(folder, 2, key=OTHER)
    assert "number 7, was written under a key that is not at hand" in found(verify(folder, KEY, known=end))


def test_a_key_of_one_run_proves_that_run_alone(folder: Path) -> None:
    """Where no key is kept at rest."""
    written(folder, 3, key=Key(b"1" * 32, kept=False))
    end = written(folder, 2, key=(key := Key(b"2" * 32, kept=False)))
    verdict = verify(folder, key, end=end)
    assert verdict.intact
    assert verdict.proven == 3
    assert "the key is random for each run" in limits(verdict)


def test_a_key_that_changes_while_the_daemon_runs_breaks_nothing(folder: Path) -> None:
    """`broker unlock` brings the real one; what was written before is said to be unproven."""
    trail = Trail(folder, Key(b"1" * 32, kept=False), None)
    trail.append(entries(2))
    trail.rekey(KEY, None)
    trail.append(entries(2))
    verdict = verify(folder, KEY, end=trail.link)
    trail.close()
    assert (verdict.findings, verdict.lines, verdict.proven) == ((), 6, 3)


def test_lines_pretended_to_be_of_another_run_are_found(folder: Path) -> None:
    """An opening under our key says under which key the lines before it were written."""
    written(folder, 3)
    end = written(folder, 2)
    raw = raw_lines(folder)
    rewritten(folder, forged(raw, 0, 3))
    told = found(verify(folder, KEY, end=end))
    assert told == "audit.jsonl, line 5: the lines before it claim another key than they were written under"
