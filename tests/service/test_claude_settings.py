"""A file system that hangs costs the ask that needs it, for a while, and nobody else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from broker.engine.policy import Found, Place
from broker.errors import Refused
from broker.integrations.claude_settings import Looked, look
from broker.service import claude_settings
from broker.service.claude_settings import THREADS_MAX, SettingsOnDisk

HERE = Place(("/here",), ("/home",))
THERE = Place(("/there",), ("/home",))


class Disk:
    """A disk whose places hang for as long as the test wants; counts the looks."""

    def __init__(self) -> None:
        self.hanging: dict[Place, threading.Event] = {}
        self.begun: list[Place] = []
        self.answer = Looked(Found(), ())

    def hang(self, place: Place) -> threading.Event:
        """Let looks at this place wait."""
        self.hanging[place] = threading.Event()
        return self.hanging[place]

    def look(self, place: Place) -> Looked:
        """Look, in the caller's thread."""
        self.begun.append(place)
        if place in self.hanging:
            self.hanging[place].wait(60)
        return replace(self.answer)

    def wake(self) -> None:
        """Let all go on."""
        for event in self.hanging.values():
            event.set()


@pytest.fixture
def disk() -> Iterator[Disk]:
    """Give a disk, and let no thread outlive the test."""
    made = Disk()
    yield made
    made.wake()


async def test_a_place_that_hangs_is_refused_in_time_and_others_are_not(disk: Disk) -> None:
    """The refusal names the folder and asks the right question."""
    disk.hang(HERE)
    files = SettingsOnDisk("/pins", deadline_s=0.05, look=disk.look)
    slow = asyncio.create_task(files.look(HERE))
    await files.look(THERE)
    with pytest.raises(Refused, match=r"/here: its .* could not be read within 0.05 s \(does its file system hang\?\)"):
        await slow


async def test_who_asks_for_a_place_that_hangs_takes_no_further_thread(disk: Disk) -> None:
    """A session asks again and again; one look waits for the file system."""
    disk.hang(HERE)
    files = SettingsOnDisk("/pins", deadline_s=0.02, look=disk.look)
    for _ in range(5):
        refused = await asyncio.gather(*(files.look(HERE) for _ in range(10)), return_exceptions=True)
        assert {type(one) for one in refused} == {Refused}
    assert disk.begun == [HERE]


async def test_after_it_woke_up_it_is_looked_at_again(disk: Disk) -> None:
    """What hung for an hour is an hour old when it comes back."""
    wake = disk.hang(HERE)
    files = SettingsOnDisk("/pins", deadline_s=0.02, look=disk.look)
    with pytest.raises(Refused):
        await files.look(HERE)
    files = SettingsOnDisk("/pins", deadline_s=10, look=disk.look)
    late = [asyncio.create_task(files.look(HERE)) for _ in range(3)]
    await _until(lambda: len(disk.begun) == 2)
    after = [asyncio.create_task(files.look(HERE)) for _ in range(3)]
    await asyncio.sleep(0)
    wake.set()
    first, second = {await one for one in late}, {await one for one in after}
    assert len(disk.begun) == 3, "one look more, for all who asked after the first had begun"
    assert len(first) == len(second) == 1


async def test_what_is_allowed_is_heeded_as_it_was_read_last(disk: Disk) -> None:
    """A look that hung for an hour brings back no pin that was taken away meanwhile."""
    pin = ("/x", "1" * 64)
    heeded: list[set[tuple[str, str]]] = []
    files = SettingsOnDisk("/pins", lambda pins: heeded.append(set(pins)), deadline_s=10, look=disk.look)
    disk.answer = Looked(Found((), frozenset({pin})), ())
    await files.look(THERE)
    wake = disk.hang(HERE)
    old = asyncio.create_task(files.look(HERE))
    await _until(lambda: len(disk.begun) == 2)
    disk.answer = Looked(Found(), ())
    await files.look(Place(("/elsewhere",), ()))
    disk.answer = Looked(Found((), frozenset({pin})), ())
    wake.set()
    await old
    assert heeded == [{pin}, set()]


async def test_threads_are_bounded(disk: Disk) -> None:
    """Sixteen dead file systems take sixteen threads; the seventeenth place waits for one, and is refused in time."""
    places = [Place((f"/{number}",), ()) for number in range(THREADS_MAX + 1)]
    for place in places:
        disk.hang(place)
    files = SettingsOnDisk("/pins", deadline_s=10, look=disk.look)
    waiting = [asyncio.create_task(files.look(place)) for place in places[:-1]]
    await _until(lambda: len(disk.begun) == THREADS_MAX)
    files._deadline_s = 0.02
    with pytest.raises(Refused, match=r"/16: .* could not be read within 0.02 s"):
        await files.look(places[-1])
    assert len(disk.begun) == THREADS_MAX
    disk.wake()
    await asyncio.gather(*waiting)
    files._deadline_s = 10
    await files.look(places[-1])


async def test_many_places_at_once_are_all_looked_at(disk: Disk) -> None:
    """Fifty worktrees whose sessions start together: the later ones wait for a moment."""
    files = SettingsOnDisk("/pins", look=disk.look)
    await asyncio.gather(*(files.look(Place((f"/{number}",), ())) for number in range(50)))
    assert len(disk.begun) == 50


async def test_no_more_threads_is_a_refusal(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the next ask tries again."""

    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    files = SettingsOnDisk("/pins", look=disk.look)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(Refused, match=r"cannot be read \(RuntimeError\)"):
            await files.look(HERE)
    await files.look(HERE)


async def test_a_bug_in_reading_is_a_refusal(disk: Disk) -> None:
    """Nothing is let through because something went wrong, and who asks next is not held up."""

    def buggy(_place: Place) -> Looked:
        raise KeyError("fake-token-1")

    files = SettingsOnDisk("/pins", look=buggy)
    for _ in range(2):
        with pytest.raises(Refused, match=r"cannot be read \(KeyError\); please report it") as refused:
            await files.look(HERE)
        assert "fake-token" not in str(refused.value)


async def test_what_did_not_change_is_the_same_object(disk: Disk) -> None:
    """Verdicts are remembered by it."""
    files = SettingsOnDisk("/pins", look=disk.look)
    assert await files.look(HERE) is await files.look(HERE)
    assert len(disk.begun) == 2, "what is not known to be local is looked at in a thread every time"


async def test_places_are_forgotten(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many projects a day sees."""
    monkeypatch.setattr(claude_settings, "PLACES_MAX", 3)
    files = SettingsOnDisk("/pins", look=disk.look)
    first = await files.look(HERE)
    for number in range(5):
        await files.look(Place((f"/{number}",), ()))
    assert await files.look(HERE) is not first
    assert len(files._known) == 3


@pytest.mark.parametrize("change", ["a file", "the mounts"])
async def test_on_a_local_disk_nothing_is_read_until_something_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """No thread is started either. What was mounted meanwhile may hang: then a thread looks."""
    files = SettingsOnDisk(str(tmp_path / "pins"))
    real, looks = files._look, list[Place]()

    def counted(place: Place) -> Looked:
        looks.append(place)
        return replace(real(place), local=True)

    files._look = counted
    place = Place((str(tmp_path),), (str(tmp_path / "home"),))
    first = await files.look(place)
    assert await files.look(place) is first
    assert len(looks) == 1
    if change == "a file":
        (tmp_path / ".claude").mkdir()
        (tmp_path / ".claude" / "settings.json").write_text("{}")
        (found,) = (await files.look(place)).found.files
        assert found.settings == {}
    else:
        monkeypatch.setattr(files._mounts, "refresh", lambda: 99)
        assert await files.look(place) is first
    assert len(looks) == 2
    files.close()


async def test_broken_pins_are_told(tmp_path: Path) -> None:
    """For `broker status`, as long as they are broken."""
    path = tmp_path / "allowed.json"
    path.write_text("{")
    files = SettingsOnDisk(str(path))
    place = Place((str(tmp_path),), (str(tmp_path),))
    await files.look(place)
    broken = files.pins_trouble
    path.unlink()
    await files.look(place)
    assert broken is not None
    assert files.pins_trouble is None
    files.close()


async def test_the_real_look_is_the_one_of_the_files(tmp_path: Path) -> None:
    """Nothing is added or left out on the way through a thread."""
    place = Place((str(tmp_path),), (str(tmp_path / "home"),))
    found = await SettingsOnDisk(str(tmp_path / "pins")).look(place)
    assert found.sights == look(place, str(tmp_path / "pins")).sights


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)
