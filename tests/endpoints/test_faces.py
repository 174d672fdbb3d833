"""Where faces listen: as the config says, on the same port after a restart, and never at the cost of the daemon."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from broker.config.structs import EndpointConfig, Endpoints
from broker.endpoints import ports
from tests.endpoints.conftest import Scripted
from tests.endpoints.faces_world import ANY_PORT, FacesWorld, aws_session, running


def a_world(folder: Path) -> FacesWorld:
    """Make a daemon's faces; `cloud` is a session."""
    return FacesWorld(folder, {"cloud": Scripted(aws_session())})


async def test_a_face_that_the_config_does_not_name_does_not_listen(tmp_path: Path) -> None:
    """Off by default."""
    async with running(a_world(tmp_path), Endpoints()) as world:
        assert (world.faces.addresses, world.faces.warnings) == ({}, [])


async def test_any_free_port_is_the_same_one_after_a_restart(tmp_path: Path) -> None:
    """Programs that were started before go on finding it, also after a crash: nothing is written at the end."""
    async with running(a_world(tmp_path)) as world:
        before = world.address
    async with running(a_world(tmp_path)) as world:
        assert world.address == before
        assert world.faces.warnings == []
        assert (await world.keys()).status == 200


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"aws": "x", "gcp": true}', b'{"aws": 99999}', b"[" * 5000])
async def test_a_broken_note_of_ports_costs_a_new_port(tmp_path: Path, content: bytes) -> None:
    """And nothing else."""
    (tmp_path / ports.NAME).write_bytes(content)
    async with running(a_world(tmp_path)) as world:
        assert (await world.keys()).status == 200


async def test_where_its_port_is_taken_it_moves_and_says_so(tmp_path: Path) -> None:
    """Programs started earlier look at the old place: a person has to know."""
    async with running(a_world(tmp_path)) as world:
        before = int(world.address.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", before)):
        async with running(a_world(tmp_path)) as world:
            ((code, message),) = world.faces.warnings
            assert code == "endpoint-moved"
            assert f"127.0.0.1:{before}" in message
            assert (await world.keys()).status == 200


async def test_a_port_that_cannot_be_had_is_a_warning(tmp_path: Path) -> None:
    """The daemon goes on, and says which line of the config to change."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        wanted = Endpoints(aws=EndpointConfig("127.0.0.1", other.getsockname()[1]))
        async with running(a_world(tmp_path), wanted) as world:
            ((code, message),) = world.faces.warnings
            assert code == "endpoint-closed"
            assert message.startswith(f"[endpoints.aws] listen: 127.0.0.1:{other.getsockname()[1]}: ")
            assert world.faces.trouble("aws") == message
            await world.faces.follow(ANY_PORT)
            assert (await world.keys()).status == 200
            assert world.faces.warnings == []


async def test_ipv6_is_as_good(tmp_path: Path) -> None:
    """With its address as URLs write it."""
    async with running(a_world(tmp_path), Endpoints(aws=EndpointConfig("::1", 0))) as world:
        assert world.address.startswith("[::1]:")
        assert (await world.keys()).status == 200


async def test_a_new_config_opens_moves_and_closes_it(tmp_path: Path) -> None:
    """And leaves it alone where nothing changed; who is being answered gets the answer yet."""
    async with running(a_world(tmp_path), Endpoints()) as world:
        await world.faces.follow(ANY_PORT)
        first = world.address
        await world.faces.follow(ANY_PORT)
        assert world.address == first
        gate = world.sources["cloud"].gate
        gate.clear()
        waiting = asyncio.create_task(world.keys())
        while not world.sources["cloud"].fetches:
            await asyncio.sleep(0.001)
        await world.faces.follow(Endpoints(aws=EndpointConfig("::1", 0)))
        assert world.address != first
        gate.set()
        assert (await waiting).status == 200
        assert (await world.keys()).status == 200
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", int(first.rpartition(":")[2]))
        await world.faces.follow(Endpoints())
        assert world.faces.addresses == {}


async def test_at_the_end_who_is_being_answered_gets_the_answer(tmp_path: Path) -> None:
    """A restart costs no program its keys."""
    world = a_world(tmp_path)
    await world.faces.follow(ANY_PORT)
    world.sources["cloud"].gate.clear()
    waiting = asyncio.create_task(world.keys())
    while not world.sources["cloud"].fetches:
        await asyncio.sleep(0.001)
    draining = asyncio.create_task(world.faces.drain(5, 0))
    await asyncio.sleep(0)
    world.sources["cloud"].gate.set()
    assert (await waiting).status == 200
    await draining
    await world.broker.close()
