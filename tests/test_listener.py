"""The socket: one daemon's, and never somebody else's socket."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker import listener
from broker.errors import AlreadyRunning, UnsafePath


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a private folder with a path short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="b-") as name:
        yield Path(name)


def test_socket_is_closed_to_others_from_its_first_moment(folder: Path) -> None:
    """The folder is 0700 and the socket 0600, whatever the umask was."""
    before = os.umask(0)
    try:
        made = listener.own_socket(folder / "s" / "b.sock")
    finally:
        os.umask(before)
    assert stat.S_IMODE((folder / "s").stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "s" / "b.sock").stat().st_mode) == 0o600
    made.close()


def test_dead_daemons_socket_is_replaced(folder: Path) -> None:
    """What a killed daemon left behind does not stop the next one."""
    listener.own_socket(folder / "b.sock").close()
    listener.own_socket(folder / "b.sock").close()


def test_live_socket_is_never_taken(folder: Path) -> None:
    """Where something answers, we refuse to start, and it goes on answering."""
    live = listener.own_socket(folder / "b.sock")
    with pytest.raises(AlreadyRunning, match="another program answers"):
        listener.own_socket(folder / "b.sock")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(folder / "b.sock"))
    live.close()


@pytest.mark.parametrize("kind", ["file", "link", "folder"])
def test_anything_else_in_its_place_is_left_alone(folder: Path, kind: str) -> None:
    """A file, link or folder at the socket's path is refused, not removed."""
    place = folder / "b.sock"
    if kind == "file":
        place.write_text("precious")
    elif kind == "folder":
        place.mkdir()
    else:
        place.symlink_to(folder / "elsewhere")
    with pytest.raises(UnsafePath, match=r"b\.sock"):
        listener.own_socket(place)
    assert place.is_symlink() or place.exists()


def test_open_folder_is_refused(folder: Path) -> None:
    """A folder that others can enter is no place for a socket; the message has the chmod."""
    folder.chmod(0o755)
    with pytest.raises(UnsafePath, match="chmod 700"):
        listener.own_socket(folder / "b.sock")


def test_socket_of_the_service_manager_is_for_us_alone() -> None:
    """Variables meant for another process, as children inherit them, are ignored."""
    assert listener.passed_socket({}) is None
    assert listener.passed_socket({"LISTEN_PID": "1", "LISTEN_FDS": "1"}) is None
    assert listener.passed_socket({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "0"}) is None


PASS = """
import os, socket, sys
made = socket.socket(getattr(socket, sys.argv[2])); made.bind(eval(sys.argv[1]))
if sys.argv[3] == "listen": made.listen()
os.chmod(sys.argv[1][1:-1], int(sys.argv[4], 8)) if sys.argv[2] == "AF_UNIX" else None
os.dup2(made.fileno(), 3)
from broker import listener
passed = listener.passed_socket({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"})
print(passed.getsockname(), passed.get_inheritable())
"""


@pytest.mark.parametrize(
    ("family", "state", "mode", "expected"),
    [
        ("AF_UNIX", "listen", "600", "b.sock False"),
        ("AF_UNIX", "listen", "666", "SocketMode=0600"),
        ("AF_UNIX", "silent", "600", "listening Unix socket"),
        ("AF_INET", "listen", "600", "listening Unix socket"),
    ],
)
def test_passed_socket_is_checked(folder: Path, family: str, state: str, mode: str, expected: str) -> None:
    """What the service manager passes must be a listening Unix socket that only we can open."""
    address = repr(str(folder / "b.sock")) if family == "AF_UNIX" else "('127.0.0.1', 0)"
    command = [sys.executable, "-c", PASS, address, family, state, mode]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert expected in done.stdout + done.stderr


def test_passed_sockets_folder_is_checked(folder: Path) -> None:
    """A folder that others can enter is refused, with the unit's setting that mends it."""
    folder.chmod(0o755)
    command = [sys.executable, "-c", PASS, repr(str(folder / "b.sock")), "AF_UNIX", "listen", "600"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "DirectoryMode=0700" in done.stderr
