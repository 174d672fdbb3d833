"""Where the token goes, and where it does not."""

from __future__ import annotations

import os
import resource
import socket
import threading

import pytest

from tests.helper.harness import TOKEN, WAIT_S, Place, finish, ok, refusal, serving, wait_until


@pytest.mark.parametrize("redirection", [">/dev/full", ">&-"])
def test_a_token_that_cannot_be_written_is_a_failure(place: Place, redirection: str) -> None:
    """A full disk or a closed stdout never counts as success, nor does the token go anywhere else."""
    with serving(place.socket, ok()) as daemon:
        said = place.run_as(["/bin/sh", "-c", f'exec "$0" {redirection}', str(place.helper)])
    assert (said.code, said.out) == (74, b"")
    assert TOKEN.decode() not in said.err
    assert all(TOKEN not in request for request in daemon.requests)


def test_all_standard_descriptors_may_be_closed(place: Place) -> None:
    """With none of the three open, no socket of ours takes their numbers and gets what was meant for them."""
    received = []

    def answer_and_listen(connection: socket.socket, _request: bytes) -> None:
        connection.sendall(ok())
        received.append(connection.recv(100))

    with serving(place.socket, answer_and_listen):
        said = place.run_as(["/bin/sh", "-c", 'exec "$0" <&- >&- 2>&-', str(place.helper)])
    assert (said.code, received) == (74, [b""])


def test_a_closed_stderr_changes_no_exit_code(place: Place) -> None:
    """Claude Code may hide stderr; the code still tells, and the message goes nowhere else."""
    received = []

    def answer_wrongly_and_listen(connection: socket.socket, _request: bytes) -> None:
        connection.sendall(b"HTTP/9")
        connection.shutdown(socket.SHUT_WR)
        received.append(connection.recv(100))

    with serving(place.socket, answer_wrongly_and_listen):
        said = place.run_as(["/bin/sh", "-c", 'exec "$0" 2>&-', str(place.helper)])
    assert (said.code, said.out, received) == (70, b"", [b""])


def test_a_reader_that_has_gone_is_a_failure(place: Place) -> None:
    """A broken pipe ends with 74, not by a signal."""
    gone = threading.Event()

    def answer_late(connection: socket.socket, _request: bytes) -> None:
        assert gone.wait(WAIT_S)
        connection.sendall(ok())

    with serving(place.socket, answer_late):
        process = place.start()
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        gone.set()
        said = finish(process)
    assert said.code == 74


@pytest.mark.parametrize("size", [12, 16384])
def test_a_full_pipe_is_waited_for(place: Place, size: int) -> None:
    """A stdout that takes little at a time and does not block still gets the whole token."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    filler = 0
    try:
        while True:
            filler += os.write(writer, b"\0" * 4096)
    except BlockingIOError:
        pass
    with serving(place.socket, ok(b"x" * size)) as daemon, os.fdopen(reader, "rb", buffering=0) as pipe:
        process = place.start_onto(writer)
        os.close(writer)
        wait_until(lambda: daemon.requests, "the ask")
        text = b"".join(iter(lambda: pipe.read(65536), b""))
        assert finish(process).code == 0
    assert text[filler:] == b"x" * size + b"\n"


def test_no_core_dump_can_hold_the_token(place: Place) -> None:
    """The helper's limit for core files is zero before it asks."""
    limits = []

    def look(connection: socket.socket, _request: bytes) -> None:
        pid = int.from_bytes(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], "little")
        limits.append(resource.prlimit(pid, resource.RLIMIT_CORE))
        connection.sendall(ok())

    with serving(place.socket, look):
        assert place.run().code == 0
    assert limits == [(0, 0)]


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"\x7f\x1b[0m", "??[0m"),
        ("\x9b2J".encode(), "??2J"),
        (b"\x9b2J", "?2J"),
        ("a\u202egnp\u2066\u200b".encode(), "a???gnp??????"),
        ("\ufeff\u2028\u00ad".encode(), "????????"),
        ("\U000e0041\U0010ffff".encode(), "????????"),
        ("\ue000\uf8ff".encode(), "??????"),
        (b"\xc1\xa1", "??"),
        (b"\xe0\x80\xaf\xf0\x80\x80\xaf", "???????"),
        (b"\xed\xa0\x80", "???"),
        (b"\xf4\x90\x80\x80\xf8\x88\x80\x80\x80", "?????????"),
        (b"\xe9\x8d", "??"),
        (b"\xe9\x8dA", "??A"),
        ("~\u00a0\u07ff\u0800\ud7ff\uf900\U00010000\U000dffff".encode(),) * 2,
    ],
    ids=[
        "ASCII controls",
        "C1 control",
        "C1 control as a byte",
        "directions",
        "hidden",
        "tags and private planes",
        "private characters",
        "ASCII in two bytes",
        "slash in more bytes",
        "half a character",
        "beyond Unicode",
        "cut",
        "cut short",
        "the edges of what is shown",
    ],
)
def test_only_what_shows_something_reaches_the_screen(place: Place, raw: bytes, shown: bytes | str) -> None:
    """Whoever chose a name or a reason: it neither commands the terminal, nor turns the line round, nor hides in it."""
    expected = shown.decode() if isinstance(shown, bytes) else shown
    with serving(place.socket, refusal(503, raw)):
        assert place.run().err == f"broker-helper: {expected}\n"
