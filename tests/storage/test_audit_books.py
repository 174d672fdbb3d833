"""The daemon's trail follows the store's key, and leaves its last line there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from broker.secret import Secret
from broker.storage.audit import verify
from broker.storage.audit.books import ANCHOR, PURPOSE, Books, anchor, key_of
from tests.fakes.store import FakeStore
from tests.real.process import wait_until as _wait_until
from tests.storage.test_audit_proof import folder, lines, rewritten

__all__ = ["folder"]

wait_until = partial(_wait_until, deadline_s=10.0, poll_s=0.005)


class RandomUntilOpen(FakeStore):
    """A store whose key comes late: until then what it derives is random."""

    def derive(self, purpose: str) -> bytes:
        """Derive, or make something up."""
        return super().derive(purpose) if not self.locked else b"r" * 32


@pytest.fixture
def store() -> RandomUntilOpen:
    """Give an encrypted store."""
    return RandomUntilOpen()


@pytest.fixture
async def books(folder: Path, store: RandomUntilOpen) -> AsyncIterator[Books]:
    """Give the trail of a daemon on that store."""
    made = Books(folder, store)
    yield made
    await made.close()


def events(folder: Path) -> list[str]:
    """Return what happened, in order."""
    return [line.event for line in lines(folder)]


async def test_its_last_line_is_kept_in_the_store(folder: Path, store: RandomUntilOpen, books: Books) -> None:
    """So that without a daemon a cut of the end is found too."""
    await books.open()
    books.record(0.0, {"event": "served"})
    await books.close()
    known = anchor(store)
    assert known == lines(folder)[-1].link
    assert verify(folder, key_of(store), known=known).findings == ()
    rewritten(folder, (folder / "audit.jsonl").read_bytes().split(b"\n")[:1])
    assert verify(folder, key_of(store), known=known).findings == ("number 2 is missing at the end",)


async def test_the_next_daemon_continues_the_chain(folder: Path, store: RandomUntilOpen) -> None:
    """Each names the last line that the store remembered of the one before."""
    for _ in range(3):
        books = Books(folder, store)
        await books.open()
        books.record(0.0, {"event": "served"})
        await books.close()
    assert events(folder) == ["opened", "served"] * 3
    assert [line.facts.get("known_seq") for line in lines(folder)[::2]] == [None, 2, 4]
    assert verify(folder, key_of(store), known=anchor(store)).findings == ()


async def test_a_key_that_comes_late_is_taken_up(folder: Path, store: RandomUntilOpen, books: Books) -> None:
    """`broker unlock`: from the next event on; and `broker lock` changes nothing about it."""
    store.locked = True
    await books.open()
    books.record(0.0, {"event": "locked"})
    store.locked = False
    books.record(0.0, {"event": "unlocked"})
    await asyncio.sleep(0)
    wait_until(lambda: events(folder) == ["opened", "locked", "opened", "unlocked"], "both are written")
    assert lines(folder)[-1].key == key_of(store).id != lines(folder)[0].key
    assert (await asyncio.wrap_future(books.verify())).proven == 2


async def test_locking_does_not_change_the_key(folder: Path, books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is derived outlasts the lock (`Store.derive`)."""
    await books.open()
    monkeypatch.setattr(books._store, "locked", True)
    monkeypatch.setattr(books._store, "derive", lambda purpose: FakeStore().derive(purpose))
    books.record(0.0, {"event": "locked"})
    wait_until(lambda: events(folder) == ["opened", "locked"], "it is written, and no second opening")


async def test_without_a_key_at_rest_a_trail_is_kept_all_the_same(folder: Path) -> None:
    """Under a key of this run, which `--verify` says."""
    books = Books(folder, store := FakeStore(persist="off"))
    await books.open()
    assert not (await asyncio.wrap_future(books.verify())).findings
    assert not key_of(store).kept
    assert books.warnings == []
    await books.close()
    assert anchor(store) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"seq": 1}', '{"seq": "x", "mac": "", "key": "", "oldest": 1}'])
def test_a_record_of_another_version_is_none(store: RandomUntilOpen, text: str) -> None:
    """Not a crash."""
    store.records[ANCHOR] = Secret(text)
    assert anchor(store) is None


def test_a_locked_store_remembers_nothing(store: RandomUntilOpen) -> None:
    """For now."""
    store.locked = True
    assert anchor(store) is None
    assert not key_of(store).kept


async def test_a_disk_that_outlives_the_daemon_harms_nobody(folder: Path, store: RandomUntilOpen) -> None:
    """What its thread has to say comes to a loop that is closed."""

    async def make() -> Books:
        return Books(folder, store)

    books = await asyncio.to_thread(asyncio.run, make())
    await books.open()
    await books.close()
    assert ANCHOR not in store.records


def test_its_key_is_for_nothing_else(store: RandomUntilOpen) -> None:
    """Not the one of fingerprints, which a status shows results of."""
    assert store.derive(PURPOSE) != store.derive("fingerprint")
