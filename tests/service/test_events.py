"""Who listens hears what happens, and nobody waits for who does not keep up."""

from __future__ import annotations

import asyncio

from broker.service.events import QUEUE_MAX, Bus, Event


def _event(number: int) -> Event:
    return Event("issued", f"credential-{number}", at=0.0)


async def test_every_listener_hears_everything_from_then_on() -> None:
    """Two listeners, one of them late."""
    bus = Bus()
    with bus.listen() as early:
        bus.publish(_event(1))
        with bus.listen() as late:
            bus.publish(_event(2))
            assert [early.get_nowait(), early.get_nowait(), late.get_nowait()] == [_event(1), _event(2), _event(2)]
        bus.publish(_event(3))
        assert early.get_nowait() == _event(3)
        assert late.empty(), "who left hears nothing more"


async def test_a_slow_listener_loses_the_oldest_events() -> None:
    """Memory stays bounded, and the news are there when it comes back."""
    bus = Bus()
    with bus.listen() as slow:
        for number in range(QUEUE_MAX + 10):
            bus.publish(_event(number))
        assert slow.qsize() == QUEUE_MAX
        assert slow.get_nowait() == _event(10)


async def test_the_end_reaches_a_listener_whose_queue_is_full() -> None:
    """A daemon that stops is held up by no listener."""
    bus = Bus()
    with bus.listen() as slow:
        for number in range(QUEUE_MAX):
            bus.publish(_event(number))
        bus.close()
        heard = [slow.get_nowait() for _ in range(QUEUE_MAX)]
        assert heard[0] == _event(1)
        assert heard[-1] is None


async def test_a_waiting_listener_is_woken() -> None:
    """No polling."""
    bus = Bus()
    with bus.listen() as queue:
        waiting = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        bus.publish(_event(1))
        assert await waiting == _event(1)


async def test_who_is_attached_hears_everything_at_once() -> None:
    """However much there is, and before anybody who listens at leisure."""
    bus, heard = Bus(), list[Event]()
    bus.attach(heard.append)
    for number in range(QUEUE_MAX + 10):
        bus.publish(_event(number))
    assert heard == [_event(number) for number in range(QUEUE_MAX + 10)]
