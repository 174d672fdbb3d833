"""A replaced file is noticed before somebody asks."""

from __future__ import annotations

import asyncio
import threading

import pytest

from broker.service import watcher
from broker.service.keeper import Keeper
from broker.service.watcher import Watcher
from tests.service.scripted import Kept
from tests.service.virtual_time import in_virtual_time


@in_virtual_time
async def test_only_what_is_in_use_and_changed_is_fetched_again() -> None:
    """A look costs nothing where nobody asks, and fetches nothing where nothing changed."""
    changed, same, unused = Kept(name="changed"), Kept(name="same"), Kept(name="unused")
    await changed.ask()
    await same.ask()
    changed.fetcher.stale = unused.fetcher.stale = True
    Watcher(lambda: [changed.keeper, same.keeper, unused.keeper], asyncio.get_running_loop()).look()
    await asyncio.sleep(0.01)
    assert [kept.fetcher.calls for kept in (changed, same, unused)] == [2, 1, 0]


async def test_it_looks_in_a_thread_until_it_is_told_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that hangs holds up that thread alone."""
    monkeypatch.setattr(watcher, "INTERVAL_S", 0.001)
    loop, looked = asyncio.get_running_loop(), asyncio.Event()
    before = set(threading.enumerate())

    def keepers() -> list[Keeper]:
        loop.call_soon_threadsafe(looked.set)
        return []

    looking = Watcher(keepers, loop)
    looking.start()
    await asyncio.wait_for(looked.wait(), 10)
    (thread,) = set(threading.enumerate()) - before
    looking.stop()
    await asyncio.to_thread(thread.join, 10)
    assert not thread.is_alive()


def test_it_ends_with_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that stopped without telling it leaves no thread that fails for ever."""
    monkeypatch.setattr(watcher, "INTERVAL_S", 0.001)
    loop = asyncio.new_event_loop()
    loop.close()

    def keepers() -> list[Keeper]:
        loop.call_soon_threadsafe(lambda: None)
        return []

    before = set(threading.enumerate())
    Watcher(keepers, loop).start()
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive()
