"""The client of the control socket: trusts only a socket that is ours, and no answer makes it stumble."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from broker import connection
from broker.client import Client, Disconnected, NotRunning
from broker.errors import (
    BadRequest,
    BrokerError,
    DeadlineExceeded,
    NeedsLogin,
    Refused,
    SourceFailed,
    UnknownCredential,
    Unreachable,
    UnsafePath,
)
from broker.platform import Peer
from tests.fakes.control import Script, serving


@pytest.fixture
def path() -> Iterator[Path]:
    """Give the path of a socket that could be."""
    folder = Path(tempfile.mkdtemp(prefix="client-"))
    yield folder / "run" / "broker.sock"
    shutil.rmtree(folder)


@pytest.fixture
def control(path: Path) -> Iterator[Script]:
    """Serve a scripted daemon there."""
    with serving(path, Script()) as script:
        yield script


@contextmanager
def answering(path: Path, answer: bytes) -> Iterator[None]:
    """Answer every connection with these bytes, whatever it asks."""
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield
        listener.shutdown(socket.SHUT_RDWR)


def test_a_token_comes_with_what_is_known_of_it(control: Script, path: Path) -> None:
    """And does not show itself by accident."""
    token = Client(path).token("work", ttl_s=300, deadline_s=9)
    assert token.secret.reveal() == "fake-token-1"
    assert (token.credential, token.fingerprint, token.expires_in_s) == ("work", "0123456789ab", 2520)
    assert "fake-token-1" not in repr(token)
    assert control.asks == ["GET /v1/token?ttl_ms=300000&deadline_ms=9000&credential=work"]


def test_a_name_is_data_not_a_path(control: Script, path: Path) -> None:
    """No name reaches another call or parameter."""
    control.parts["a/../b?c"] = {"credential": "a/../b?c"}
    assert Client(path).credential("a/../b?c") == {"credential": "a/../b?c"}
    with pytest.raises(UnknownCredential):
        Client(path).token("work&ttl_ms=9")
    assert "credential=work%26ttl_ms%3D9" in control.asks[-1]


def test_rejected_reports_the_fingerprint(control: Script, path: Path) -> None:
    """With what upstream answered."""
    Client(path).rejected("work", "0123456789ab", 401)
    assert control.asks == ['POST /v1/rejected {"credential": "work", "fingerprint": "0123456789ab", "status": 401}']


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("bad-request", BadRequest),
        ("needs-login", NeedsLogin),
        ("refused", Refused),
        ("unknown-credential", UnknownCredential),
        ("source-failed", SourceFailed),
        ("deadline", DeadlineExceeded),
        ("internal", BrokerError),
        ("of-a-later-version", BrokerError),
        ("", BrokerError),
    ],
)
def test_the_daemons_errors_come_back_as_what_they_were(
    control: Script, path: Path, code: str, error: type[BrokerError]
) -> None:
    """By their code; an unknown one is told all the same."""
    control.errors["/v1/status"] = (500, code, "what happened; what to do")
    with pytest.raises(BrokerError, match="what happened; what to do") as raised:
        Client(path).status()
    assert type(raised.value) is error


@pytest.mark.parametrize("status", [404, 405])
def test_a_daemon_without_the_call_is_of_another_version(control: Script, path: Path, status: int) -> None:
    """One that an upgrade left running: the mend is a restart, not a search for a mistake in what was typed."""
    control.errors["/v1/lock"] = (status, "bad-request", "POST /v1/lock: Not Found")
    with pytest.raises(Unreachable, match=r"another version .*; run: broker restart"):
        Client(path).lock()


def test_nobody_there_says_how_to_start(path: Path) -> None:
    """No folder, no socket, or a socket that a dead daemon left."""
    with pytest.raises(NotRunning, match="broker start"):
        Client(path).status()
    path.parent.mkdir(mode=0o700)
    with pytest.raises(NotRunning, match="broker start"):
        Client(path).status()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    path.chmod(0o600)
    with pytest.raises(NotRunning, match="broker start"):
        Client(path).status()
    assert not Client(path).healthy()


@pytest.mark.parametrize("mode", [0o710, 0o755, 0o777])
def test_a_folder_open_to_others_is_refused(control: Script, path: Path, mode: int) -> None:
    """Whoever can write there could put a socket of theirs in place, and hand us a token of theirs."""
    path.parent.chmod(mode)
    with pytest.raises(UnsafePath, match="chmod 700"):
        Client(path).status()
    with pytest.raises(UnsafePath):
        Client(path).healthy()
    assert not control.asks


def test_a_socket_open_to_others_is_refused(control: Script, path: Path) -> None:
    """A daemon of ours never makes such a one."""
    path.chmod(0o660)
    with pytest.raises(UnsafePath, match="chmod 600"):
        Client(path).status()
    assert not control.asks


def test_a_linked_folder_or_socket_is_refused(control: Script, path: Path) -> None:
    """A link's target can be changed after the look."""
    link = path.parent.parent / "link"
    link.symlink_to(path.parent)
    with pytest.raises(UnsafePath, match="must be a folder"):
        Client(link / path.name).status()
    (path.parent / "linked.sock").symlink_to(path)
    with pytest.raises(UnsafePath, match="must be a socket"):
        Client(path.parent / "linked.sock").status()
    assert not control.asks


def test_what_belongs_to_somebody_else_is_refused(control: Script, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its mode."""
    stranger = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: stranger)
    with pytest.raises(UnsafePath, match=f"belongs to uid {stranger - 1}"):
        Client(path).status()
    assert not control.asks


def test_a_stranger_behind_our_socket_is_told_nothing(
    control: Script, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Swapped between the look and the connection: the kernel says who really listens."""

    class Platform:
        def peer(self, _connection: socket.socket) -> Peer:
            return Peer(uid=os.geteuid() + 1, pid=1)

    monkeypatch.setattr(connection, "current", Platform)
    with pytest.raises(UnsafePath, match="listens there, not you"):
        Client(path).status()
    assert not control.asks


def test_the_peer_is_who_listens(control: Script, path: Path) -> None:
    """The process that `broker stop` would signal."""
    with Client(path).session() as session:
        assert (session.peer.pid, session.peer.uid) == (os.getpid(), os.geteuid())


def test_a_connection_that_closes_without_an_answer_is_tried_once_more(control: Script, path: Path) -> None:
    """A draining daemon's successor answers; a second time it is an error."""
    control.dropped = 1
    assert Client(path).status()["daemon"]["version"] == "0.1.0"
    control.dropped = 2
    with pytest.raises(Disconnected, match="broker restart"):
        Client(path).status()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\0" * 100,
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 twohundred OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n\xff\xfe\x00",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
)
def test_no_answer_makes_it_stumble(path: Path, answer: bytes) -> None:
    """Whatever listens there, the outcome is one of our errors."""
    with answering(path, answer), pytest.raises(Unreachable):
        Client(path, timeout_s=5).status()


def test_an_endless_answer_is_cut_off(control: Script, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot fill our memory."""
    monkeypatch.setattr(connection, "ANSWER_MAX", 1000)
    control.raw["/v1/status"] = b"x" * 1001
    with pytest.raises(Unreachable, match="more than 1000 bytes"):
        Client(path).status()


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "x" * 16_385, "caf\xe9"])
def test_what_claude_code_would_not_take_is_no_token(control: Script, path: Path, token: str) -> None:
    """And it is not quoted in the error."""
    control.raw["/v1/token"] = token.encode("latin-1")
    with pytest.raises(SourceFailed) as raised:
        Client(path).token()
    assert not token or token not in str(raised.value)


def test_a_daemon_that_never_answers_is_given_up(path: Path) -> None:
    """After the time-out, with a word on what to try."""
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(path))
        path.chmod(0o600)
        mute.listen()
        with pytest.raises(Unreachable, match="took too long"):
            Client(path, timeout_s=0.05).status()
        assert not Client(path, timeout_s=0.05).healthy()


@pytest.mark.slow
def test_whether_a_daemon_is_healthy_is_known_within_a_second(path: Path) -> None:
    """What waits for a daemon asks this again and again; `broker status` takes five at most."""
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(path))
        path.chmod(0o600)
        mute.listen()
        before = time.monotonic()
        assert not Client(path).healthy()
        assert time.monotonic() - before < 3
    assert Client(path).timeout_s <= 5


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="elsewhere a full queue refuses, like a dead daemon")
def test_a_full_queue_is_a_busy_daemon_not_a_dead_one(path: Path) -> None:
    """It is waited out until the time-out, and never taken for a reason to start another one."""
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as first:
        busy.bind(str(path))
        path.chmod(0o600)
        busy.listen(0)
        first.connect(str(path))
        with pytest.raises(Unreachable) as raised:
            Client(path, timeout_s=0.05).status()
        assert not isinstance(raised.value, NotRunning)


def test_events_come_as_they_happen(control: Script, path: Path) -> None:
    """Until the daemon ends the stream."""
    events = Client(path).events()
    control.events.put(("issued", {"credential": "work", "fingerprint": "0123456789ab"}))
    first = next(events)
    assert (first.name, first.data["credential"]) == ("issued", "work")
    control.events.put(("refreshed", {"credential": "work"}))
    control.events.put(None)
    assert [event.name for event in events] == ["refreshed"]


@pytest.mark.slow
def test_events_survive_silence(control: Script, path: Path) -> None:
    """A quiet hour is not a dead daemon: the time-out is for answers only."""
    client = Client(path, timeout_s=1.0)
    began = time.monotonic()
    threading.Timer(1.5 * client.timeout_s, control.events.put, [("issued", {})]).start()
    assert next(client.events()).name == "issued"
    assert time.monotonic() - began > client.timeout_s


def test_events_ignore_comments_and_unnamed_ones(control: Script, path: Path) -> None:
    """As the format of server-sent events wants it."""
    control.raw["/v1/events"] = b': hello\n\ndata: {}\n\nevent: issued\nid: 4\ndata: {"a":\ndata: 1}\n\n'
    assert [(event.name, dict(event.data)) for event in Client(path).events()] == [("issued", {"a": 1})]
