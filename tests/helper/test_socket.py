"""Where the daemon is looked for, and that nobody else can stand in for it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.helper.harness import TOKEN, Place, ok, serving, wait_until

Need = Callable[[bool, str], None]
NOBODY = 65534


def one_line(err: str, *parts: str) -> None:
    """Check that stderr is one line of ours that has all `parts`."""
    assert re.fullmatch(r"broker-helper: [ -~]*\n", err)
    for part in parts:
        assert part in err


@pytest.mark.parametrize(
    ("socket", "env"),
    [
        ("elsewhere/any.sock", {"BROKER_SOCKET": "{}/elsewhere/any.sock", "XDG_RUNTIME_DIR": "{}/x"}),
        ("x/broker/broker.sock", {"XDG_RUNTIME_DIR": "{}/x", "BROKER_STATE_DIR": "{}/state"}),
        ("x/broker/broker.sock", {"BROKER_SOCKET": "", "XDG_RUNTIME_DIR": "{}/x"}),
    ],
)
def test_looks_in_the_promised_places(place: Place, socket: str, env: dict[str, str]) -> None:
    """BROKER_SOCKET, then the runtime folder."""
    found_at(place, socket, env)


@pytest.mark.parametrize(
    ("socket", "env"),
    [
        ("state/broker.sock", {"BROKER_STATE_DIR": "{}/state", "XDG_STATE_HOME": "{}/y"}),
        ("y/broker/broker.sock", {"XDG_STATE_HOME": "{}/y", "XDG_RUNTIME_DIR": "relative"}),
        (".local/state/broker/broker.sock", {"XDG_STATE_HOME": "relative", "BROKER_STATE_DIR": ""}),
    ],
)
def test_looks_in_the_state_folder_without_a_runtime_folder(
    place: Place, socket: str, env: dict[str, str], need: Need
) -> None:
    """Then the state folder; relative XDG variables are ignored as the specification says."""
    need(not Path(f"/run/user/{os.geteuid()}").exists(), "/run/user/UID is there and comes first")
    found_at(place, socket, env)


def found_at(place: Place, socket: str, env: dict[str, str]) -> None:
    """Serve at `socket` under the place's folder and expect to be found."""
    path = place.folder / socket
    path.parent.mkdir(parents=True, mode=0o700)
    changes = {name: value.format(place.folder) for name, value in env.items()}
    with serving(path, ok()):
        said = place.run(**({"BROKER_SOCKET": None} | changes))
    assert (said.code, said.out) == (0, TOKEN + b"\n"), said.err


@pytest.mark.parametrize("value", ["broker.sock", "./run/broker.sock", "../run/broker.sock"])
def test_a_relative_socket_is_refused(place: Place, value: str) -> None:
    """A cloned project cannot offer a socket of its own in the folder that Claude Code runs in."""
    with serving(place.socket, ok()) as daemon:
        said = place.run_as([str(place.helper)], {"BROKER_SOCKET": value}, cwd=place.folder)
    assert (said.code, said.out, daemon.requests) == (78, b"", [])
    one_line(said.err, value, "BROKER_SOCKET")


@pytest.mark.parametrize("variable", ["BROKER_STATE_DIR", "HOME"])
def test_a_relative_state_folder_is_refused(place: Place, variable: str, need: Need) -> None:
    """The same by way of the state folder."""
    need(not Path(f"/run/user/{os.geteuid()}").exists(), "/run/user/UID is there and comes first")
    said = place.run(**{"BROKER_SOCKET": None, variable: "run"})
    assert (said.code, said.out) == (78, b"")
    one_line(said.err, "must be absolute")


@pytest.mark.parametrize(("length", "code"), [(107, 69), (108, 78), (109, 78), (5000, 78)])
def test_a_path_too_long_for_a_socket_says_so(place: Place, length: int, code: int) -> None:
    """108 bytes are the system's limit; a path is never cut to fit, which would name another socket."""
    path = "/" + "n" * (length - len("//broker.sock")) + "/broker.sock"
    said = place.run(BROKER_SOCKET=path if length < 255 else "/" + "n/" * 2500)
    assert (said.code, said.out) == (code, b"")
    one_line(said.err, "108 bytes" if code == 78 else "no daemon listens")


def test_no_home_at_all_says_so(place: Place, need: Need) -> None:
    """Without any place for the socket the line names what to set."""
    need(not Path(f"/run/user/{os.geteuid()}").exists(), "/run/user/UID is there and comes first")
    said = place.run(BROKER_SOCKET=None, HOME=None)
    assert (said.code, said.out) == (78, b"")
    one_line(said.err, "HOME")


@pytest.mark.parametrize("mode", [0o710, 0o701, 0o770, 0o755, 0o1777])
def test_a_folder_open_to_others_is_refused(place: Place, mode: int) -> None:
    """Others could have put their socket there; the line says how to mend it."""
    with serving(place.socket, ok()) as daemon:
        place.socket.parent.chmod(mode)
        said = place.run()
    assert (said.code, said.out, daemon.requests) == (77, b"", [])
    one_line(said.err, f"chmod 700 {place.socket.parent}")


@pytest.mark.parametrize("mode", [0o660, 0o606, 0o644, 0o777])
def test_a_socket_open_to_others_is_refused(place: Place, mode: int) -> None:
    """A daemon of ours makes it 0600; another mode is somebody else's doing."""
    with serving(place.socket, ok()) as daemon:
        place.socket.chmod(mode)
        said = place.run()
    assert (said.code, said.out, daemon.requests) == (77, b"", [])
    one_line(said.err, f"chmod 600 {place.socket}")


@pytest.mark.parametrize("spelling", ["{}/broker.sock", "{}//broker.sock"])
def test_a_linked_folder_is_refused(place: Place, spelling: str) -> None:
    """Who may replace the link chooses the daemon; a second slash does not get round it."""
    link = place.folder / "link"
    link.symlink_to(place.socket.parent)
    with serving(place.socket, ok()) as daemon:
        said = place.run(BROKER_SOCKET=spelling.format(link))
    assert (said.code, said.out, daemon.requests) == (77, b"", [])
    one_line(said.err, str(link))


def test_a_linked_socket_is_refused(place: Place) -> None:
    """The same for the socket itself."""
    link = place.socket.with_name("link.sock")
    link.symlink_to(place.socket)
    with serving(place.socket, ok()) as daemon:
        said = place.run(BROKER_SOCKET=str(link))
    assert (said.code, said.out, daemon.requests) == (77, b"", [])


def test_what_is_no_socket_is_refused(place: Place) -> None:
    """A file in the socket's place ends with 77 and its name."""
    place.socket.write_text("")
    place.socket.chmod(0o600)
    said = place.run()
    assert (said.code, said.out) == (77, b"")
    one_line(said.err, f"rm {place.socket}")


def test_a_file_in_the_folders_place_is_refused(place: Place) -> None:
    """The same for the folder."""
    said = place.run(BROKER_SOCKET=f"{place.broker}/broker.sock")
    assert (said.code, said.out) == (77, b"")
    one_line(said.err, str(place.broker))


@pytest.mark.parametrize("part", ["socket", "folder"])
def test_what_belongs_to_another_user_is_refused(place: Place, part: str, need: Need) -> None:
    """Another user's socket, or one in another user's folder, is never asked."""
    need(os.geteuid() == 0, "not root: cannot give files away")
    with serving(place.socket, ok()) as daemon:
        os.chown(place.socket if part == "socket" else place.socket.parent, NOBODY, NOBODY)
        said = place.run()
        os.chown(place.socket.parent, 0, 0)
    assert (said.code, said.out, daemon.requests) == (77, b"", [])
    one_line(said.err, f"uid {NOBODY}")


def test_another_users_listener_is_refused(place: Place, need: Need) -> None:
    """Even behind a socket file of ours it is the kernel that says who listens."""
    need(os.geteuid() == 0, "not root: cannot listen as somebody else")
    with foreign_listener(place.socket):
        said = place.run()
    assert (said.code, said.out) == (77, b"")
    one_line(said.err, f"uid {NOBODY} listens")


@contextmanager
def foreign_listener(path: Path) -> Iterator[None]:
    """Listen at our own 0600 socket file as nobody."""
    script = f"""
import os, socket
s = socket.socket(socket.AF_UNIX); os.umask(0o077); s.bind({str(path) + ".new"!r}); os.seteuid({NOBODY}); s.listen(5)
os.seteuid(0); os.rename({str(path) + ".new"!r}, {str(path)!r})
while True: c, _ = s.accept(); c.sendall({ok()!r}); c.close()
"""
    process = subprocess.Popen([sys.executable, "-c", script])
    try:
        wait_until(path.exists, "the listener")
        yield
    finally:
        process.kill()
        process.wait()


def test_a_path_cannot_write_to_the_terminal(place: Place) -> None:
    """Escape sequences in a path come out as question marks; a name in any language as it is."""
    said = place.run(BROKER_SOCKET="\x1b]0;evil\x07/Bücher/鍵")
    assert said.code == 78
    assert "socket path ?]0;evil?/Bücher/鍵: must be absolute" in said.err
    assert said.err.replace("\n", "", 1).isprintable()
