"""No daemon yet: one `broker start` for however many ask, from the helper's own installation, with nothing of theirs."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.helper.harness import TOKEN, FakeBroker, Place, Said, finish, ok, wait_until, waits_for_start

HERD = 200


def started(place: Place, **env: str | None) -> Said:
    """Run with autostart allowed and time enough."""
    return place.run(**({"BROKER_AUTOSTART": None, "BROKER_TIMEOUT_MS": "25000"} | env))


@pytest.mark.parametrize("leftover", [False, True], ids=["no socket", "dead socket"])
def test_zero_forbids_a_start(place: Place, broker: FakeBroker, leftover: bool) -> None:  # noqa: FBT001  # a parameter
    """With BROKER_AUTOSTART=0 the helper says at once what a person can run."""
    broker.behave(answers=[ok()])
    if leftover:
        leave_a_dead_socket(place)
    said = place.run(BROKER_AUTOSTART="0")
    assert (said.code, said.out, broker.starts()) == (69, b"", [])
    assert "broker start" in said.err
    assert "systemctl --user start broker.socket" in said.err


@pytest.mark.parametrize("leftover", [False, True], ids=["no socket", "dead socket"])
def test_starts_the_daemon_and_gets_its_token(place: Place, broker: FakeBroker, leftover: bool) -> None:  # noqa: FBT001  # a parameter
    """The first ask of the day works by itself, and says nothing about it."""
    broker.behave(answers=[ok()])
    if leftover:
        leave_a_dead_socket(place)
    said = started(place)
    assert (said.code, said.out, said.err) == (0, TOKEN + b"\n", "")
    assert len(broker.starts()) == 1


def leave_a_dead_socket(place: Place) -> None:
    """Leave what a killed daemon leaves."""
    import socket  # noqa: PLC0415  # only here

    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(place.socket))
    place.socket.chmod(0o600)


@pytest.mark.parametrize("value", ["1", "", "no", "00"])
def test_only_zero_forbids(place: Place, broker: FakeBroker, value: str) -> None:
    """Any other value of BROKER_AUTOSTART leaves it on."""
    broker.behave(exit_code=3)
    assert started(place, BROKER_AUTOSTART=value).code == 69
    assert len(broker.starts()) == 1


def test_makes_the_sockets_folder_private(place: Place, broker: FakeBroker) -> None:
    """On a fresh account the folders do not exist; those made are the user's alone."""
    broker.behave(answers=[ok()])
    fresh = place.folder / "a" / "b"
    said = started(place, BROKER_SOCKET=str(fresh / "broker.sock"))
    assert (said.code, said.out) == (0, TOKEN + b"\n"), said.err
    assert [oct(folder.stat().st_mode & 0o777) for folder in (fresh, fresh.parent)] == ["0o700", "0o700"]
    assert oct((fresh / "start.lock").stat().st_mode & 0o777) == "0o600"


def test_an_open_folder_is_refused_before_anything_is_started(place: Place, broker: FakeBroker) -> None:
    """A daemon started there would be refused afterwards anyway."""
    broker.behave(answers=[ok()])
    place.socket.parent.chmod(0o777)
    said = started(place)
    assert (said.code, said.out, broker.starts()) == (77, b"", [])


def test_a_linked_lock_is_not_followed(place: Place, broker: FakeBroker) -> None:
    """A link in the lock's place cannot make the helper write elsewhere."""
    broker.behave(exit_code=1)
    victim = place.folder / "victim"
    victim.write_text("precious")
    (place.socket.parent / "start.lock").symlink_to(victim)
    said = started(place)
    assert (said.code, broker.starts(), victim.read_text()) == (69, [], "precious")
    assert "start.lock" in said.err


def test_a_folder_that_cannot_be_made_says_so(place: Place, broker: FakeBroker) -> None:
    """A wrong BROKER_SOCKET is named, not retried until the deadline."""
    said = started(place, BROKER_SOCKET="/proc/nowhere/broker.sock")
    assert (said.code, said.out, broker.starts()) == (69, b"", [])
    assert "/proc/nowhere" in said.err
    assert "BROKER_SOCKET" in said.err


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/PID/fd: a folder of ours in which nobody can make a file")
def test_a_folder_that_takes_no_file_is_named_with_the_reason(place: Place, broker: FakeBroker) -> None:
    """No `rm` helps there, nor on a read-only or full file system."""
    folder = f"/proc/{os.getpid()}/fd"
    said = started(place, BROKER_SOCKET=f"{folder}/broker.sock")
    assert (said.code, said.out, broker.starts()) == (69, b"", [])
    assert said.err.startswith(f"broker-helper: no daemon listens, and in {folder} nothing can be written: ")
    assert said.err.endswith("; set BROKER_SOCKET\n")


@pytest.mark.parametrize("leftover", [False, True], ids=["no lock", "old lock"])
def test_a_read_only_folder_is_named_with_the_reason(
    place: Place,
    broker: FakeBroker,
    need: Callable[[bool, str], None],
    leftover: bool,  # noqa: FBT001  # a parameter
) -> None:
    """The folder and the file system's own word; a lock that lies there is not to blame."""
    folder = place.socket.parent
    if leftover:
        (folder / "start.lock").touch(mode=0o600)
    own_mounts = ["unshare", *([] if os.geteuid() == 0 else ["-r"]), "-m"]
    possible = shutil.which("unshare") and subprocess.run([*own_mounts, "true"], check=False).returncode == 0
    need(bool(possible), "unshare -m is not possible here")
    mount = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && exec "$2"'
    said = place.run_as(
        [*own_mounts, "sh", "-c", mount, "sh", str(folder), str(place.helper)], {"BROKER_AUTOSTART": None}
    )
    assert (said.code, said.out, broker.starts()) == (69, b"", [])
    assert f"in {folder} nothing can be written: Read-only file system; set BROKER_SOCKET" in said.err


def test_nothing_of_the_callers_reaches_the_daemon(place: Place, broker: FakeBroker) -> None:
    """Environment, folder, terminal, descriptors and session are the daemon's own: it outlives this caller."""
    broker.behave(answers=[ok()])
    listed = ["HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"]
    listed += ["DBUS_SESSION_BUS_ADDRESS", "SSH_AUTH_SOCK", "BROKER_CONFIG", "BROKER_SOCKET", "BROKER_STATE_DIR"]
    listed += ["BROKER_LOG_LEVEL"]
    wanted = {name: f"/value of {name}" for name in listed} | {"BROKER_SOCKET": str(place.socket)}
    planted = {
        "LD_LIBRARY_PATH": "/x",
        "PYTHONPATH": "/x",
        "ANTHROPIC_BASE_URL": "http://evil.example",
        "PATH": "/evil",
    }
    planted |= {
        "BROKER_CREDENTIAL": "c",
        "CLAUDECODE": "1",
        "NODE_OPTIONS": "x",
        "HOMEX": "x",
        "HTTPS_PROXY": "http://x",
    }
    said = started(place, **(wanted | planted))
    assert (said.code, said.out) == (0, TOKEN + b"\n"), said.err
    (facts,) = broker.starts()
    path = f"{place.broker.parent}:/usr/local/bin:/usr/bin:/bin"
    assert {name: value for name, value in facts["env"].items() if name != "LC_CTYPE"} == wanted | {"PATH": path}
    assert facts["argv"] == [str(place.broker), "start"]
    assert (facts["cwd"], facts["session"]) == ("/", True)
    standard = {number: facts["fds"].pop(number) for number in "012"}
    assert set(standard.values()) == {"/dev/null"}
    assert all("broker" in link and link.startswith(str(place.broker)) for link in facts["fds"].values())


def test_open_descriptors_of_the_caller_are_closed(place: Place, broker: FakeBroker) -> None:
    """Without that, a pipe of Claude Code's would stay open as long as the daemon lives."""
    broker.behave(answers=[ok()])
    script = f'exec 7>"{place.folder}/leak" 9</dev/zero; exec "$0"'
    env = {"BROKER_AUTOSTART": None, "BROKER_TIMEOUT_MS": "25000"}
    said = place.run_as(["/bin/sh", "-c", script, str(place.helper)], env)
    assert said.code == 0, said.err
    (facts,) = broker.starts()
    assert not {"7", "9"} & set(facts["fds"])


def test_a_planted_path_starts_nothing(place: Place, broker: FakeBroker) -> None:
    """A project's settings may set PATH and Python's variables; what runs is from the helper's own installation."""
    broker.behave(answers=[ok()])
    evil = place.folder / "evil"
    evil.mkdir()
    for name in ("broker", "python3", "python", "readlink", "sh", "env"):
        (evil / name).write_text(f"#!/bin/sh\ntouch {place.folder}/owned\n")
        (evil / name).chmod(0o755)
    for name in ("sitecustomize.py", "usercustomize.py", "broker_helper.py", "broker_settings.py", "posix.py"):
        (evil / name).write_text(f"open({str(place.folder / 'owned')!r}, 'w')\n")
    env = {"PATH": str(evil), "PYTHONPATH": str(evil), "PYTHONSTARTUP": str(evil / "posix.py"), "PYTHONHOME": str(evil)}
    link = place.folder / "link"
    link.symlink_to(place.helper)
    for command in (str(place.helper), str(link)):
        said = place.run_as([command], env | {"BROKER_AUTOSTART": None}, cwd=evil)
        assert (said.code, said.out) == (0, TOKEN + b"\n"), said.err
    assert not (place.folder / "owned").exists()


@pytest.mark.parametrize("how", ["link", "relative", "relative link"])
def test_the_neighbour_is_found_however_the_helper_is_named(place: Place, broker: FakeBroker, how: str) -> None:
    """Tool installers put a link into the user's bin folder; `broker` is beside what it points to."""
    broker.behave(answers=[ok()])
    elsewhere = place.folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "bh").symlink_to(place.helper)
    command, cwd = {
        "link": (str(elsewhere / "bh"), place.folder),
        "relative": ("./broker-helper", place.helper.parent),
        "relative link": ("elsewhere/bh", place.folder),
    }[how]
    said = place.run_as([command], {"BROKER_AUTOSTART": None}, cwd=cwd)
    assert (said.code, said.out) == (0, TOKEN + b"\n"), said.err
    assert len(broker.starts()) == 1


@pytest.mark.parametrize(
    ("exit_code", "hint"), [(1, "run: broker start"), (78, "broker config check"), (69, "exit 69")]
)
def test_a_failed_start_says_how_to_see_why(place: Place, broker: FakeBroker, exit_code: int, hint: str) -> None:
    """The line names the exit code and the command that shows the reason; it fails at once, not at the deadline."""
    broker.behave(exit_code=exit_code)
    said = started(place)
    assert (said.code, said.out) == (69, b"")
    assert re.fullmatch(rf"broker-helper: .*{place.broker} start failed \(exit {exit_code}\).*\n", said.err)
    assert hint in said.err
    assert said.took_s < 10


def test_a_missing_broker_says_so(place: Place) -> None:
    """A helper copied out of its installation cannot start anything, and fails at once."""
    place.broker.unlink()
    (place.broker.parent / "python3").symlink_to(sys.executable)
    said = started(place)
    assert (said.code, said.out) == (69, b"")
    assert f"{place.broker} start failed (exit 127)" in said.err


@pytest.mark.slow
def test_a_start_that_brings_up_nothing_says_so(place: Place, broker: FakeBroker) -> None:
    """`broker start` succeeding without a daemon on our socket ends within seconds, with both named."""
    broker.behave(exit_code=0)
    said = started(place)
    assert (said.code, said.out) == (69, b"")
    assert str(place.socket) in said.err
    assert said.took_s < 10


def test_an_exit_code_is_seen_by_callers_that_ignore_children(place: Place, broker: FakeBroker) -> None:
    """A caller that ignores SIGCHLD passes that on; the reason of a failure is not lost by it."""
    broker.behave(exit_code=3)
    ignore = (
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    )
    said = place.run_as([sys.executable, "-c", ignore, str(place.helper)], {"BROKER_AUTOSTART": None})
    assert (said.code, said.out) == (69, b"")
    assert "exit 3" in said.err


def test_starts_at_most_once(place: Place, broker: FakeBroker) -> None:
    """A daemon that dies on its first ask is not started again by the same helper."""
    broker.behave(answers=[b""], forever=False)
    said = started(place)
    assert (said.code, said.out) == (69, b"")
    assert len(broker.starts()) == 1


def test_an_old_failure_does_not_stop_a_new_try(place: Place, broker: FakeBroker) -> None:
    """What failed before this helper began, or before this boot, may work now."""
    broker.behave(exit_code=1)
    assert started(place).code == 69
    note = place.socket.parent / "start.lock"
    for text in (
        note.read_bytes(),
        b"99999999999999999999 001\n",
        b"00000000000000000000 001\n",
        b"garbage" * 9,
        b"\0" * 25,
    ):
        note.write_bytes(text)
        broker.behave(answers=[ok()], forever=False)
        said = started(place)
        assert (said.code, said.out) == (0, TOKEN + b"\n"), text
        wait_until(lambda: not place.socket.exists(), "the daemon to go")


@pytest.mark.slow
def test_a_herd_starts_one_daemon(place: Place, broker: FakeBroker) -> None:
    """Two hundred helpers at once run one `broker start`, and every one gets the token."""
    broker.behave(answers=[ok()])
    broker.shut_gate()
    herd = [place.start(BROKER_AUTOSTART=None) for _ in range(HERD)]
    wait_until(lambda: all(map(waits_for_start, herd)), "all helpers to wait")
    broker.open_gate()
    assert {(said.code, said.out, said.err) for said in map(finish, herd)} == {(0, TOKEN + b"\n", "")}
    assert len(broker.starts()) == 1


@pytest.mark.slow
def test_a_herd_fails_with_one_try(place: Place, broker: FakeBroker) -> None:
    """When that start fails, all who waited fail with its reason at once, instead of trying in turn."""
    broker.behave(exit_code=78)
    broker.shut_gate()
    herd = [place.start(BROKER_AUTOSTART=None) for _ in range(50)]
    wait_until(lambda: all(map(waits_for_start, herd)), "all helpers to wait")
    broker.open_gate()
    ends = [finish(process) for process in herd]
    assert {(said.code, said.out) for said in ends} == {(69, b"")}
    assert all("exit 78" in said.err for said in ends)
    assert len(broker.starts()) == 1


def test_a_starter_that_dies_is_replaced(place: Place, broker: FakeBroker) -> None:
    """Its lock goes with it, and one of those who wait takes over."""
    broker.behave(answers=[ok()])
    broker.shut_gate()
    first = place.start(BROKER_AUTOSTART=None)
    wait_until(lambda: len(broker.starts()) == 1, "the first start")
    os.kill(first.pid, signal.SIGKILL)
    finish(first)
    second = place.start(BROKER_AUTOSTART=None)
    wait_until(lambda: len(broker.starts()) == 2, "the second start")
    broker.open_gate()
    said = finish(second)
    assert (said.code, said.out) == (0, TOKEN + b"\n"), said.err
