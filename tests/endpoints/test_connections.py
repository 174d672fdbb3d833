"""Slow, idle and hostile clients, and the end of the daemon."""

from __future__ import annotations

import asyncio
import resource

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker import platform
from broker.endpoints import connections
from broker.model import Issued
from tests.endpoints.conftest import Face, Scripted, running_face

ASK = b"GET /v1/token HTTP/1.1\r\nHost: broker\r\nConnection: close\r\n\r\n"


async def test_a_thousand_idle_connections_do_not_stop_the_next(face: Face) -> None:
    """Clients that connect and say nothing cost others nothing, also when they are more than we hold."""
    face.connections._limit = 200
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    idle = [await face.connect() for _ in range(1000)]
    try:
        assert (await face.get("/v1/token")).body == b"fake-token-1"
        assert len(face.arrivals.connections) <= 201
    finally:
        for _reader, writer in idle:
            writer.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_flood_drops_idle_connections_never_waiting_ones(face: Face, sources: dict[str, Scripted]) -> None:
    """Who waits for a slow source keeps its place when others flood the socket."""
    face.connections._limit = 20
    sources["work"].gate.clear()
    waiting = asyncio.create_task(face.raw(ASK))
    while not sources["work"].fetches:
        await asyncio.sleep(0)
    idle = [await face.connect() for _ in range(50)]
    sources["work"].gate.set()
    assert (await waiting).endswith(b"fake-token-1")
    for _reader, writer in idle:
        writer.close()


async def test_a_flood_does_not_fill_the_log(face: Face, caplog: pytest.LogCaptureFixture) -> None:
    """Anybody on the machine can flood a port on loopback: that is one line a minute, not one for each connection."""
    face.connections._limit = 20
    idle = [await face.connect() for _ in range(60)]
    assert (await face.get("/v1/token")).body == b"fake-token-1"
    assert [record.levelname for record in caplog.records if "idle" in record.message] == ["WARNING"]
    for _reader, writer in idle:
        writer.close()


async def test_running_out_of_descriptors_is_survived(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the system gives no more descriptors, the daemon drops an idle client and goes on."""
    accept, failures = face.listener.accept, iter([OSError(24, "EMFILE")])

    class Starved:
        def __getattr__(self, name: str) -> object:
            return getattr(face.listener, name)

        def fileno(self) -> int:
            return face.listener.fileno()

        def accept(self) -> object:
            for failure in failures:
                raise failure
            return accept()

    idle_reader, idle_writer = await face.connect()
    while not face.arrivals.connections:
        await asyncio.sleep(0)
    monkeypatch.setattr(face.connections, "_listener", Starved())
    assert (await face.get("/healthz")).body == b"ok\n"
    assert await asyncio.wait_for(idle_reader.read(), 5) == b""
    idle_writer.close()


async def test_draining_answers_what_was_asked_and_leaves_the_queue(face: Face, sources: dict[str, Scripted]) -> None:
    """At the end: an ask under way is answered, one just connected too; a later one waits in the socket."""
    sources["work"].gate.clear()
    asked = asyncio.create_task(face.raw(ASK))
    while not sources["work"].fetches:
        await asyncio.sleep(0)
    reader, writer = await face.connect()
    await asyncio.sleep(0.05)
    end = asyncio.create_task(face.connections.drain(answers_s=5, requests_s=5))
    await asyncio.sleep(0)
    writer.write(ASK)
    late_reader, late_writer = await face.connect()
    late_writer.write(ASK)
    sources["work"].gate.set()
    assert (await asked).endswith(b"fake-token-1")
    assert (await reader.read()).endswith(b"fake-token-1")
    await asyncio.wait_for(end, 5)
    # The next daemon takes over the socket, and with it who waits there.
    successor = connections.Connections(face.arrivals, face.listener)
    successor.start()
    face.connections = successor
    assert (await asyncio.wait_for(late_reader.read(), 5)).endswith(b"fake-token-1")
    for each in (writer, late_writer):
        each.close()


async def test_draining_closes_idle_keep_alive_connections_at_once(face: Face) -> None:
    """A client that keeps its connection open for later does not delay the end."""
    reader, writer = await face.connect()
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: broker\r\n\r\n")
    await asyncio.wait_for(reader.readuntil(b"ok\n"), 5)
    async with asyncio.timeout(2):
        await face.connections.drain(answers_s=30, requests_s=30)
    assert await reader.read() == b""
    writer.close()


async def test_silent_connection_is_closed(sources: dict[str, Scripted]) -> None:
    """Who connects and sends nothing, or half a request, is let go after a while."""
    async for face in running_face(sources, platform.current(), idle_max_s=0.1):
        silent, _ = await face.connect()
        half, writer = await face.connect()
        writer.write(ASK[:20])
        assert await asyncio.wait_for(silent.read(), 5) == b""
        assert await asyncio.wait_for(half.read(), 5) == b""


@pytest.mark.slow
async def test_slow_body_is_cut_off(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request whose body never comes is answered with 400 after a while."""
    monkeypatch.setattr("broker.endpoints.control.middleware.BODY_MAX_S", 0.05)
    answer = await face.raw(b"POST /v1/refresh HTTP/1.1\r\nHost: b\r\nConnection: close\r\nContent-Length: 9\r\n\r\n{")
    assert answer.startswith(b"HTTP/1.1 400")


async def test_huge_body_is_refused(face: Face) -> None:
    """A body beyond the cap is refused without being kept."""
    answer = await face.call("POST", "/v1/refresh", b" " * 200_000)
    assert answer.status == 413


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    raw=st.one_of(
        st.binary(max_size=300),
        st.builds(lambda target: b"GET /v1/token?" + target + b" HTTP/1.1\r\n\r\n", st.binary(max_size=80)),
        st.builds(lambda head: ASK[:-2] + head + b"\r\n\r\n", st.binary(max_size=80)),
    )
)
def test_any_bytes_leave_the_daemon_serving(raw: bytes) -> None:
    """Whatever bytes arrive, the next caller is served."""

    async def scenario() -> None:
        async for running in running_face({"work": Scripted(Issued.token("fake-token-1"))}, platform.current()):
            _reader, writer = await running.connect()
            writer.write(raw)
            writer.write_eof()
            assert (await running.get("/v1/token")).body == b"fake-token-1"
            writer.close()

    asyncio.run(scenario())
