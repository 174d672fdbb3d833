"""Recording never waits for the disk; what a full or slow one costs is counted and told."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from broker.errors import StorageError
from broker.storage.audit import Audit, files, recorder
from broker.storage.audit.chain import Key, Link
from tests.real.process import wait_until as _wait_until
from tests.storage.test_audit_proof import KEY, OTHER, folder, lines

__all__ = ["folder"]

wait_until = partial(_wait_until, deadline_s=10.0, poll_s=0.005)
AT = 1_800_000_000.0


@pytest.fixture
def remembered() -> list[Link]:
    """Give what the store was told to remember."""
    return []


@pytest.fixture
def audit(folder: Path, remembered: list[Link]) -> Iterator[Audit]:
    """Give a recorder that has not started yet, and close it in the end."""
    made = Audit(folder, remembered.append, anchor_every_s=0.0, retry_s=0.01)
    yield made
    made.close()


def record(audit: Audit, *credentials: str) -> None:
    """Record that these were served."""
    for credential in credentials:
        audit.record(AT, {"event": "served", "credential": credential})


def served(folder: Path) -> list[str]:
    """Return the credentials of the `served` lines, in order."""
    return [line.facts["credential"] for line in lines(folder) if line.event == "served"]


def events(folder: Path) -> list[str]:
    """Return what happened, in order."""
    return [line.event for line in lines(folder)]


class Disk:
    """The disk as `os.write` sees it: works, refuses, or hangs."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.error: OSError | None = None
        self.free = threading.Event()
        self.free.set()
        self.tries = 0
        self.sizes: list[int] = []
        self._write = os.write
        patch.setattr(os, "write", self._maybe_write)

    def _maybe_write(self, descriptor: int, data: bytes) -> int:
        if threading.current_thread().name != "audit":
            return self._write(descriptor, data)
        self.tries += 1
        self.free.wait(30)
        if self.error is not None:
            raise self.error
        self.sizes.append(bytes(data).count(b"\n"))
        return self._write(descriptor, data)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Give the recorder's disk into the test's hands."""
    return Disk(monkeypatch)


def test_what_is_recorded_is_written(folder: Path, audit: Audit) -> None:
    """Also what was recorded before the key was there; in the order in which it happened."""
    record(audit, "early")
    audit.start(KEY, None)
    record(audit, "work", "play")
    audit.close()
    assert served(folder) == ["early", "work", "play"]
    assert audit.warnings == []


def test_many_lines_are_one_write(folder: Path, audit: Audit, disk: Disk) -> None:
    """A storm of events costs the disk little."""
    record(audit, *(f"c{n}" for n in range(300)))
    audit.start(KEY, None)
    wait_until(lambda: len(served(folder)) == 300, "all are written")
    assert disk.sizes == [1, 300]


def test_a_full_disk_delays_nobody_and_loses_nothing_that_fits(folder: Path, audit: Audit, disk: Disk) -> None:
    """It is tried again until it works; meanwhile `status` warns."""
    audit.start(KEY, None)
    wait_until(lambda: events(folder) == ["opened"], "it runs")
    disk.error = OSError(errno.ENOSPC, "No space left on device")
    record(audit, "work")
    wait_until(lambda: bool(audit.warnings), "the warning")
    ((code, message),) = audit.warnings
    assert code == "audit-failing"
    assert f"{folder / 'audit.jsonl'}: No space left on device; no event is lost yet" in message
    disk.error = None
    wait_until(lambda: served(folder) == ["work"], "it is written after all")
    wait_until(lambda: audit.warnings == [], "the warning is gone")


def test_what_does_not_fit_is_counted_and_told(
    folder: Path, audit: Audit, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In `status` while it lasts, and in the trail when it can be written again."""
    audit.start(KEY, None)
    wait_until(lambda: events(folder) == ["opened"], "it runs")
    disk.free.clear()
    record(audit, "first")
    wait_until(lambda: disk.tries == 2, "the write hangs")
    began = time.monotonic()
    record(audit, *("again" for _ in range(recorder.QUEUE_MAX + 7)))
    assert time.monotonic() - began < 5, "recording does not wait for the disk, which hangs for as long as we like"
    assert "7 events are lost" in audit.warnings[0][1]
    monkeypatch.setattr(recorder, "SLOW_S", 0.0)
    assert "the disk does not answer; 7 events are lost" in audit.warnings[0][1]
    monkeypatch.undo()
    disk.free.set()
    wait_until(lambda: "lost" in events(folder), "the loss is in the trail")
    wait_until(lambda: len(served(folder)) == recorder.QUEUE_MAX + 1, "all that fitted is there")
    (lost,) = [line for line in lines(folder) if line.event == "lost"]
    assert (lost.facts["times"], lost.facts["reason"]) == (7, "the disk is too slow")
    wait_until(lambda: audit.warnings == [], "the warning is gone")
    assert audit.verify().result(10).findings == ()


def test_a_folder_that_cannot_be_used_is_tried_again(folder: Path, audit: Audit) -> None:
    """The daemon starts without its trail, says why, and goes on when a person has mended it."""
    folder.chmod(0o755)
    audit.start(KEY, None)
    record(audit, "work")
    wait_until(lambda: bool(audit.warnings), "the warning")
    assert "chmod 700" in audit.warnings[0][1]
    folder.chmod(0o700)
    wait_until(lambda: served(folder) == ["work"], "it is written")
    wait_until(lambda: audit.warnings == [], "the warning is gone")


def test_a_disk_that_hangs_does_not_keep_the_daemon_from_ending(
    audit: Audit, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits a moment, then leaves."""
    monkeypatch.setattr(recorder, "CLOSE_S", 0.05)
    disk.free.clear()
    audit.start(KEY, None)
    began = time.monotonic()
    audit.close()
    assert time.monotonic() - began < 5
    disk.free.set()


def test_at_the_end_a_full_disk_is_tried_once_more(folder: Path, audit: Audit, disk: Disk) -> None:
    """And then left as it is."""
    audit.start(KEY, None)
    wait_until(lambda: events(folder) == ["opened"], "it runs")
    disk.error = OSError(errno.ENOSPC, "No space left on device")
    record(audit, "work")
    audit.close()
    assert events(folder) == ["opened"]
    audit.close()


def test_the_store_remembers_the_last_line_that_the_disk_has(
    folder: Path, audit: Audit, remembered: list[Link], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told only after the lines are safe from a loss of power: else one would look like a cut."""
    synced: list[int] = []
    real = os.fsync

    def sync(descriptor: int) -> None:
        synced.append(len(lines(folder)))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    audit.start(KEY, None)
    record(audit, "work")
    audit.close()
    assert remembered
    assert remembered[-1] == lines(folder)[-1].link
    assert synced[-1] == remembered[-1].seq


def test_the_store_is_not_told_of_every_line(folder: Path, remembered: list[Link]) -> None:
    """Each time it writes the whole store: once a while, and at the end."""
    audit = Audit(folder, remembered.append, anchor_every_s=3600.0)
    audit.start(KEY, None)
    for number in range(20):
        record(audit, str(number))
        wait_until(lambda number=number: len(served(folder)) > number, "it is written")  # type: ignore[misc]  # the lambda's default
    assert len(remembered) <= 1
    audit.close()
    assert remembered[-1].seq == 21


def test_a_quiet_trail_is_remembered_too(folder: Path, remembered: list[Link]) -> None:
    """Without another event to wake it."""
    audit = Audit(folder, remembered.append, anchor_every_s=0.05)
    audit.start(KEY, None)
    record(audit, "work")
    wait_until(lambda: bool(remembered) and remembered[-1].seq == 2, "the last line is remembered")
    audit.close()


def test_a_new_key_takes_over_where_the_old_one_ends(folder: Path, audit: Audit) -> None:
    """What was recorded before it came stands under the old one; `--verify` goes by the new one."""
    audit.start(Key(b"r" * 32, kept=False), None)
    record(audit, "before")
    audit.start(KEY, None)
    record(audit, "after")
    verdict = audit.verify().result(10)
    assert verdict.findings == ()
    assert [(line.event, line.key == KEY.id) for line in lines(folder)] == [
        ("opened", False),
        ("served", False),
        ("opened", True),
        ("served", True),
    ]


def test_a_new_key_while_the_disk_is_full_is_used_when_it_works_again(folder: Path, audit: Audit, disk: Disk) -> None:
    """No line is written under the old one by mistake."""
    audit.start(OTHER, None)
    wait_until(lambda: events(folder) == ["opened"], "it runs")
    disk.error = OSError(errno.ENOSPC, "No space left on device")
    audit.start(KEY, None)
    wait_until(lambda: bool(audit.warnings), "it failed")
    disk.error = None
    record(audit, "work")
    wait_until(lambda: served(folder) == ["work"], "it is written")
    assert lines(folder)[-1].key == KEY.id


def test_verification_finds_what_happens_while_the_daemon_runs(folder: Path, audit: Audit) -> None:
    """Even a cut of the very last line: the daemon knows what it wrote."""
    audit.start(KEY, None)
    record(audit, "work", "play")
    assert audit.verify().result(10).findings == ()
    content = files.current(folder).read_bytes()
    files.current(folder).write_bytes(content[: content[:-1].rfind(b"\n") + 1])
    assert audit.verify().result(10).findings == ("number 3 is missing at the end",)


def test_verification_that_cannot_be_done_says_so(folder: Path, audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the trail runs, and when the folder cannot be read."""
    with pytest.raises(StorageError, match="not written at present"):
        audit.verify().result(10)
    audit.start(KEY, None)
    record(audit, "work")
    wait_until(lambda: served(folder) == ["work"], "it runs")

    def unreadable(_folder: Path) -> list[Path]:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(files, "present", unreadable)
    with pytest.raises(StorageError, match=r"cannot be read: .*Input/output error"):
        audit.verify().result(10)


def test_recording_costs_an_answer_next_to_nothing(audit: Audit) -> None:
    """A few microseconds of the thread that answers, however busy the machine is."""
    audit.start(KEY, None)
    facts: dict[str, Any] = {"event": "served", "credential": "work"}
    began = time.thread_time()
    for _ in range(2000):
        audit.record(AT, facts)
    assert (time.thread_time() - began) / 2000 < 0.0005


def test_a_verification_that_nobody_waits_for_any_more_is_not_done(folder: Path, audit: Audit, disk: Disk) -> None:
    """Who asked while the disk hung has left; the trail goes on."""
    disk.free.clear()
    audit.start(KEY, None)
    wait_until(lambda: disk.tries == 1, "the write hangs")
    left = audit.verify()
    assert left.cancel()
    record(audit, "work")
    disk.free.set()
    wait_until(lambda: served(folder) == ["work"], "it goes on")


def test_where_even_the_queue_is_full_verification_says_so_at_once(audit: Audit, disk: Disk) -> None:
    """Nobody waits for a disk that hangs."""
    disk.free.clear()
    audit.start(KEY, None)
    wait_until(lambda: disk.tries == 1, "the write hangs")
    record(audit, *("work" for _ in range(recorder.QUEUE_MAX)))
    with pytest.raises(StorageError, match="not written at present"):
        audit.verify().result(10)
    disk.free.set()


def test_a_key_never_shows_itself() -> None:
    """Only its name."""
    assert repr(KEY) == f"Key({KEY.id})"
    assert b"k" * 32 not in repr(KEY).encode()


def test_another_programs_hand_in_the_file_is_a_warning(folder: Path, audit: Audit) -> None:
    """Noticed at the next event, and told for as long as the daemon runs."""
    audit.start(KEY, None)
    wait_until(lambda: events(folder) == ["opened"], "it runs")
    files.current(folder).unlink()
    record(audit, "work")
    wait_until(lambda: served(folder) == ["work"], "it goes on in a new file")
    assert audit.warnings == [
        (
            "audit-changed",
            f"{folder / 'audit.jsonl'}: the file was gone, and not by the daemon; see: broker audit --verify",
        )
    ]
