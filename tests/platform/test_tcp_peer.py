"""Who is at the other end of a loopback TCP connection, as the kernel says: exactly that one, or nobody."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from broker import platform
from tests.real.process import wait_until

CONNECT = (
    "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); print(flush=True); input()"
)

Pair = tuple[socket.socket, socket.socket]


def _pair(family: socket.AddressFamily, listening: str, dialled: str, theirs: socket.AddressFamily) -> Pair:
    with socket.create_server((listening, 0), family=family) as server:
        client = socket.socket(theirs, socket.SOCK_STREAM)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.bind(("" if ":" in dialled else dialled, 0))  # a port of its own: another may have it after this one
        client.connect((dialled, server.getsockname()[1]))
        return server.accept()[0], client


@pytest.fixture
def ends() -> Iterator[Pair]:
    """A connection within this process: ours, and the other end."""
    ours, client = _pair(socket.AF_INET, "127.0.0.1", "127.0.0.1", socket.AF_INET)
    with ours, client:
        yield ours, client


@pytest.mark.parametrize(
    ("listening", "dialled", "theirs"),
    [
        ("127.0.0.1", "127.0.0.1", socket.AF_INET),
        ("127.0.0.1", "::ffff:127.0.0.1", socket.AF_INET6),
        ("::1", "::1", socket.AF_INET6),
    ],
)
def test_whoever_connects_is_found(listening: str, dialled: str, theirs: socket.AddressFamily) -> None:
    """By IPv4, by IPv6, and from a socket of both families: its user, its process, and its very socket."""
    family = socket.AF_INET6 if ":" in listening else socket.AF_INET
    ours, client = _pair(family, listening, dialled, theirs)
    with ours, client:
        found = platform.current().tcp_peer(ours)
        assert (found.uid, found.pids) == (os.geteuid(), (os.getpid(),))
        assert sys.platform != "linux" or found.socket == os.fstat(client.fileno()).st_ino


def test_another_process_is_told_from_this_one() -> None:
    """The one that connected, not the one that serves; looked for among some, it is found among these or not at all."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        argv = [sys.executable, "-I", "-S", "-c", CONNECT, port]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
            ours, _ = server.accept()
            with ours:
                system = platform.current()
                found = system.tcp_peer(ours)
                assert found.pids == (client.pid,)
                assert system.tcp_peer(ours, [os.getpid(), client.pid]) == found
                assert system.tcp_peer(ours, [os.getpid()]).pids == ()
                client.communicate(b"\n")
                with pytest.raises(OSError, match="connection"):
                    system.tcp_peer(ours)


def test_everybody_who_shares_an_end_is_named(ends: Pair) -> None:
    """A socket that was handed down to a child may be either's: both are named."""
    ours, client = ends
    argv = ["sleep", "60"]
    with subprocess.Popen(argv, pass_fds=[client.fileno()]) as child:
        try:
            both = {os.getpid(), child.pid}
            wait_until(lambda: set(platform.current().tcp_peer(ours).pids) == both, "both hold it")
        finally:
            child.kill()


def test_an_end_that_is_closed_is_nobodys(ends: Pair) -> None:
    """The kernel shows what is left of it as root's; a program that listens at its port since is somebody else."""
    ours, client = ends
    address = client.getsockname()
    client.close()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(address)
        other.listen()
        with pytest.raises(OSError, match="connection"):
            platform.current().tcp_peer(ours)


def test_an_end_that_sends_no_more_is_refused(ends: Pair) -> None:
    """Half closed it is on its way out: whoever wants an answer keeps it open."""
    ours, client = ends
    client.shutdown(socket.SHUT_WR)
    with pytest.raises(OSError, match="connection"):
        platform.current().tcp_peer(ours)


def test_the_same_end_is_known_again_and_another_is_not(ends: Pair) -> None:
    """Two looks compare equal while the same socket is held by the same processes, on Linux by its inode."""
    ours, _client = ends
    first = platform.current().tcp_peer(ours)
    assert platform.current().tcp_peer(ours, first.pids) == first
    others, another = _pair(socket.AF_INET, "127.0.0.1", "127.0.0.1", socket.AF_INET)
    with others, another:
        assert sys.platform != "linux" or platform.current().tcp_peer(others) != first


def test_a_processs_next_connection_is_found_whatever_number_it_has(ends: Pair) -> None:
    """The number of its last one is a hint, no more: it may be another file's by now, or another connection's."""
    ours, client = ends
    system = platform.current()
    own = [os.getpid()]
    assert system.tcp_peer(ours, own).pids == (os.getpid(),)
    for _ in range(3):
        others, another = _pair(socket.AF_INET, "127.0.0.1", "127.0.0.1", socket.AF_INET)
        with others, another:
            assert system.tcp_peer(others, own).pids == (os.getpid(),)
            assert system.tcp_peer(ours, own).pids == (os.getpid(),)
    moved = client.dup()
    client.close()
    with moved:
        assert system.tcp_peer(ours, own).pids == (os.getpid(),)
