"""One deadline over the whole run: whatever is slow, the helper ends in time and says what it waited for."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helper.harness import TOKEN, FakeBroker, Place, Turn, finish, listening, ok, serving, wait_until

TIMEOUT_S = 0.4
LATE_S = 1.0
"""What a loaded machine may add; far below the helper's own default of 9 s."""


def say_nothing(connection: socket.socket, _request: bytes) -> None:
    """Take the request and never answer; returns when the helper is gone."""
    connection.recv(1)


def drip(answer: bytes) -> Turn:
    """Give an answer byte by byte, for ever too slowly, the last byte never."""

    def drip_(connection: socket.socket, _request: bytes) -> None:
        connection.settimeout(0.05)
        for byte in answer[:-1]:
            connection.sendall(bytes([byte]))
            with contextlib.suppress(TimeoutError):
                if connection.recv(1) == b"":
                    return
        connection.settimeout(None)
        connection.recv(1)

    return drip_


@pytest.mark.parametrize("turn", [say_nothing, drip(ok())], ids=["silent", "dripping"])
def test_gives_up_at_the_deadline_and_not_before(place: Place, turn: Turn) -> None:
    """A silent daemon, or one that drips bytes, costs the caller its own BROKER_TIMEOUT_MS and no more."""
    with serving(place.socket, turn):
        said = place.run(BROKER_TIMEOUT_MS=str(int(TIMEOUT_S * 1000)))
    assert (said.code, said.out) == (75, b"")
    assert re.fullmatch(r"broker-helper: no token within 400 ms: .*\n", said.err)
    assert TIMEOUT_S - 0.01 <= said.took_s < TIMEOUT_S + LATE_S


def test_slow_bytes_in_time_are_a_good_answer(place: Place) -> None:
    """However the answer is cut into pieces, it is the same answer."""

    def byte_by_byte(connection: socket.socket, _request: bytes) -> None:
        for byte in ok():
            connection.sendall(bytes([byte]))

    with serving(place.socket, byte_by_byte):
        said = place.run()
    assert (said.code, said.out) == (0, TOKEN + b"\n")


@pytest.mark.slow
def test_the_retry_has_no_deadline_of_its_own(place: Place) -> None:
    """An empty answer and a silent second one together take one deadline."""
    timeout_s = 2 * LATE_S  # two of them would be later than late
    with serving(place.socket, b"", say_nothing) as daemon:
        said = place.run(BROKER_TIMEOUT_MS=str(int(timeout_s * 1000)))
    assert (said.code, len(daemon.requests)) == (75, 2)
    assert said.took_s < timeout_s + LATE_S


@contextlib.contextmanager
def full_queue(path: Path) -> Iterator[socket.socket]:
    """Listen without accepting, the accept queue full."""
    with listening(path, backlog=0) as listener, contextlib.ExitStack() as clients:
        with contextlib.suppress(BlockingIOError):
            while True:
                client = clients.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)  # noqa: FBT003  # the name of the method
                client.connect(str(path))
        yield listener


def test_a_full_queue_is_never_answered_by_a_start(place: Place, broker: FakeBroker) -> None:
    """A daemon under load is a daemon: the helper waits in the kernel until its deadline, and starts nothing."""
    broker.behave(answers=[ok()])
    with full_queue(place.socket):
        said = place.run(BROKER_TIMEOUT_MS=str(int(TIMEOUT_S * 1000)), BROKER_AUTOSTART="1")
    assert (said.code, said.out, broker.starts()) == (75, b"", [])
    assert "queue" in said.err
    assert TIMEOUT_S - 0.01 <= said.took_s < TIMEOUT_S + LATE_S


def test_a_full_queue_is_waited_out(place: Place) -> None:
    """As soon as the daemon accepts again, the helper that waited gets its token."""
    with full_queue(place.socket) as listener:
        process = place.start()
        waits_in_connect = Path(f"/proc/{process.pid}/wchan")
        wait_until(lambda: "unix_wait_for_peer" in waits_in_connect.read_text(), "the helper to wait in connect")
        listener.settimeout(30)
        while not (request := answer_next(listener)):
            pass
        assert request.startswith(b"GET /v1/token?")
        said = finish(process)
    assert (said.code, said.out) == (0, TOKEN + b"\n")


def answer_next(listener: socket.socket) -> bytes:
    """Accept one connection and answer it if it asks; the fillers of the queue do not."""
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(0.2)
        try:
            request = connection.recv(4096)
        except TimeoutError:
            return b""
        connection.sendall(ok())
        return request


def test_a_start_that_hangs_ends_at_the_deadline(place: Place, broker: FakeBroker) -> None:
    """The deadline holds over `broker start` too."""
    broker.behave(answers=[ok()])
    broker.shut_gate()
    began = time.monotonic()
    said = place.run(BROKER_TIMEOUT_MS=str(int(TIMEOUT_S * 1000)), BROKER_AUTOSTART="1")
    assert (said.code, said.out) == (75, b"")
    assert "still starting" in said.err
    assert TIMEOUT_S - 0.01 <= time.monotonic() - began < TIMEOUT_S + LATE_S
