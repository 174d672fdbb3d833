"""What every face on TCP refuses, whatever its protocol: browsers, proxies, other users, and processes it cannot see."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest

from broker import platform
from broker.endpoints import faces, loopback, server
from broker.platform.interface import Peer, TcpPeer
from tests.endpoints.conftest import Scripted
from tests.endpoints.faces_world import FacesWorld, aws_session, running


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[FacesWorld]:
    """A face that has one session, `cloud`."""
    async with running(FacesWorld(tmp_path, {"cloud": Scripted(aws_session())})) as found:
        yield found


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "rebound.example:80"},
        {"Host": "localhost:80"},
        {"Host": "127.0.0.1"},
        {"Host": None},
        {"Origin": "https://page.example"},
        {"Origin": "null"},
        {"X-Forwarded-For": "10.0.0.1"},
        {"X-Forwarded-Host": "metadata.internal"},
        {"Forwarded": "for=10.0.0.1"},
        {"Via": "1.1 proxy"},
    ],
    ids=str,
)
async def test_browsers_and_proxies_are_refused(world: FacesWorld, headers: dict[str, str | None]) -> None:
    """A page whose name was rebound to this address, any page at all, and a server that fetches for strangers."""
    answer = await world.get(world.path(), {"Authorization": world.authorization()} | headers)
    assert answer.status in {400, 403}
    assert b"fake/secret" not in answer.body
    assert world.sources["cloud"].fetches == 0


async def test_two_hosts_are_none(world: FacesWorld) -> None:
    """Whichever of them somebody else believes."""
    host = f"Host: {world.address}\r\n"
    request = f"GET {world.path()} HTTP/1.1\r\n{host}Host: x.example\r\nConnection: close\r\n\r\n"
    assert (await world.raw(request.encode())).split()[1] in {b"400", b"403"}


async def test_what_is_not_there_has_an_answer_of_the_faces_own_form(world: FacesWorld) -> None:
    """JSON, not kept by anybody, and with a status that a client understands."""
    for method, target, status in (("GET", "/", 404), ("POST", world.path(), 405), ("GET", "/v1/token", 404)):
        answer = await world.get(target, method=method)
        assert (answer.status, answer.json()["code"]) == (status, "bad-request")
        assert answer.headers["Cache-Control"] == "no-store"


class Others:
    """This platform, but TCP connections come from somebody else, or from nobody that can be seen."""

    def __init__(self, uid: int) -> None:
        self._own = platform.current()
        self._uid = uid

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # the platform's own methods
        return getattr(self._own, name)

    def tcp_peer(self, _connection: socket.socket, _among: Iterable[int] | None = None) -> TcpPeer:
        return TcpPeer(self._uid, (), 1)


@pytest.mark.parametrize("target", ["/v1/aws/cloud", "/"])
async def test_another_users_process_gets_nothing_from_any_path(tmp_path: Path, target: str) -> None:
    """Anybody on the machine can connect: only the daemon's own user is answered, and the attempt is noted."""
    world = FacesWorld(tmp_path, {"cloud": Scripted(aws_session())}, Others(os.geteuid() + 1))
    async with running(world):
        answer = await world.get(target, {"Authorization": world.authorization()})
    assert (answer.status, answer.json()["code"]) == (403, "refused")
    assert world.strangers == [Peer(os.geteuid() + 1, 0)]


async def test_a_process_that_cannot_be_seen_gets_nothing(tmp_path: Path) -> None:
    """The guard could not judge it."""
    world = FacesWorld(tmp_path, {"cloud": Scripted(aws_session())}, Others(os.geteuid()))
    async with running(world):
        answer = await world.keys()
    assert answer.status == 403
    assert "cannot see which process asks" in answer.json()["message"]


async def test_a_bug_is_told_by_its_code_alone(world: FacesWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its details may hold a secret."""

    async def broken(*_: object) -> None:
        raise RuntimeError("fake/secret+1")

    monkeypatch.setattr(world.broker, "token", broken)
    answer = await world.keys()
    assert (answer.status, answer.json()["code"]) == (500, "internal")
    assert b"fake/secret" not in answer.body


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"X": "x" * (server.HEADER_MAX + 1)}, b"", 400),
        ({"Content-Length": str(loopback.BODY_MAX + 1)}, b"x" * (loopback.BODY_MAX + 1), 405),
    ],
    ids=["header", "body"],
)
async def test_a_request_beyond_a_limit_is_refused(
    world: FacesWorld, headers: dict[str, str], body: bytes, status: int
) -> None:
    """And the next one answered; a body nobody reads, and at its limit the connection ends."""
    lines = [f"POST {world.path()} HTTP/1.1", f"Host: {world.address}", *(f"{k}: {v}" for k, v in headers.items())]
    answer = await world.raw("\r\n".join([*lines, "Connection: close", "", ""]).encode() + body)
    assert int(answer.split()[1]) == status
    assert (await world.keys()).status == 200


async def test_a_crowd_of_idle_connections_keeps_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody on the machine can open them: the oldest idle one is closed, the newest served."""
    monkeypatch.setattr(faces, "CONNECTIONS_MAX", 16)
    async with running(FacesWorld(tmp_path, {"cloud": Scripted(aws_session())})) as world:
        host, _, port = world.address.rpartition(":")
        crowd = [await asyncio.open_connection(host, int(port)) for _ in range(20)]
        assert (await world.keys()).status == 200
        assert await asyncio.wait_for(crowd[0][0].read(), 5) == b""
        for _, writer in crowd:
            writer.close()
