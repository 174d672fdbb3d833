"""What the kernel says of real processes, however they try to look."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from broker import platform
from broker.engine.callers import has_variable
from broker.platform import Peer
from broker.platform.linux import Linux
from tests.real.process import wait_until

GONE = 2**22 + 1
"""Above the largest pid there can be."""

WAITING = "print(flush=True); input()"


@contextmanager
def _running(*argv: str, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """Run a program that writes a line when it is ready and ends with its input."""
    with subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout is not None
            program.stdout.readline()
            yield program
        finally:
            assert program.stdin is not None
            program.stdin.close()


def _python(*arguments: str, env: dict[str, str] | None = None) -> AbstractContextManager[subprocess.Popen[str]]:
    return _running(sys.executable, "-I", "-S", "-c", WAITING, *arguments, env=env)


def test_this_platform_is_the_one_that_is_used() -> None:
    """The daemon takes what fits the system it runs on."""
    assert isinstance(platform.current(), Linux)


def test_a_process_is_described_by_its_kernel() -> None:
    """Pid, parent and short name; and the start time, which is the same each time it is read."""
    found = Linux().process(os.getpid())
    assert found is not None
    assert (found.pid, found.parent) == (os.getpid(), os.getppid())
    assert found.name == Path("/proc/self/comm").read_text().rstrip("\n")
    assert found == Linux().process(os.getpid())
    with _python() as later:
        child = Linux().process(later.pid)
        assert child is not None
        assert child.started >= found.started
        assert child.parent == os.getpid()


@pytest.mark.parametrize("name", ["a b", ") (", "x) S 1 1 1", "(((", "))))", ") R 1 (claude", "\u00e9\u00e8", "claude"])
def test_no_name_can_forge_the_other_fields(name: str, tmp_path: Path) -> None:
    """The name stands in the middle of the kernel's line and may hold parentheses, blanks and digits."""
    program = tmp_path / name
    program.symlink_to(Path("/bin/sh").resolve())
    with _running(str(program), "-c", "echo; read line; exit") as running:
        found = Linux().process(running.pid)
        assert found is not None
        assert (found.name, found.parent) == (name, os.getpid())


@pytest.mark.parametrize("pid", [GONE, 0, -1])
def test_a_process_that_is_not_there_has_no_description(pid: int) -> None:
    """Gone, or never possible: no error, and no evidence."""
    linux = Linux()
    assert linux.process(pid) is None
    assert list(linux.arguments(pid)) == []
    assert linux.environment(pid) is None
    assert linux.folder(pid) is None
    assert linux.pin(pid) is None


def test_a_process_that_ended_is_gone() -> None:
    """Once it was waited for."""
    with _python() as program:
        pid = program.pid
        assert Linux().process(pid) is not None
    assert Linux().process(pid) is None


def test_a_zombie_has_no_arguments_and_no_environment() -> None:
    """Ended but not waited for: it is still listed, and proves nothing."""
    program = subprocess.Popen([sys.executable, "-I", "-S", "-c", ""], env={"CLAUDECODE": "1"})
    os.waitid(os.P_PID, program.pid, os.WEXITED | os.WNOWAIT)
    assert Linux().process(program.pid) is not None
    assert list(Linux().arguments(program.pid)) == []
    assert not has_variable(Linux().environment(program.pid), "CLAUDECODE")
    assert Linux().folder(program.pid) is None
    program.wait()


def test_arguments_are_as_they_were_given() -> None:
    """Empty ones, blanks, new lines and bytes that are no text included."""
    given = ["", "a b", "x\ny", "\udcff", "--end", ""]
    with _python(*given) as program:
        assert list(Linux().arguments(program.pid)) == [sys.executable, "-I", "-S", "-c", WAITING, *given]


def test_long_arguments_are_read_whole() -> None:
    """The shell's command is judged by all of it, not by its first page."""
    long = ["x" * 100_000, "y" * 100_000]
    with _python(*long) as program:
        assert list(Linux().arguments(program.pid))[-2:] == long


def test_a_variable_is_found_by_its_whole_name() -> None:
    """First, last or in between; never as part of another's name or value, and empty ones count."""
    env = {"FIRST": "1", "CLAUDECODE": "", "OTHER": "NOT=1", "PAD": "x" * 10_000, "AFTER": "1"}
    with _python(env=env) as program:
        environment = Linux().environment(program.pid)
        for name in ("FIRST", "CLAUDECODE", "OTHER", "AFTER"):
            assert has_variable(environment, name), name
        for name in ("IRST", "CLAUDE", "CODE", "NOT", "1", "XCLAUDECODE", "claudecode"):
            assert not has_variable(environment, name), name


def test_the_working_folder_is_the_present_one(tmp_path: Path) -> None:
    """Not the one that the process was started in, and told as such when it is deleted."""
    folder = tmp_path / "a b"
    folder.mkdir()
    moving = f"import os; os.chdir({str(folder)!r}); {WAITING}"
    with _running(sys.executable, "-I", "-S", "-c", moving) as program:
        assert Linux().folder(program.pid) == str(folder)
        folder.rmdir()
        assert Linux().folder(program.pid) == f"{folder} (deleted)"


@pytest.mark.parametrize("name", ["program", ") R 1 (x", "\udcff\udcfe"])
def test_a_pinned_process_is_the_same_until_it_ends(name: str, tmp_path: Path) -> None:
    """Whatever it is called; and once it has ended, no later process of the same pid is taken for it."""
    program = tmp_path / name
    program.symlink_to(Path("/bin/sh").resolve())
    with _running(str(program), "-c", "echo; read line; exit") as running:
        pinned = Linux().pin(running.pid)
        assert pinned is not None
        assert pinned.process == Linux().process(running.pid)
        assert pinned.same()
    assert not pinned.same()
    pinned.close()


def test_a_pinned_process_that_becomes_another_program_is_not_the_same() -> None:
    """A shell that was looked at may replace itself by Claude Code: same pid, same start, another name."""
    with _running("/bin/sh", "-c", "echo; read line; exec /bin/cat") as running:
        pinned = Linux().pin(running.pid)
        assert pinned is not None
        assert running.stdin is not None
        running.stdin.write("\n")
        running.stdin.flush()
        wait_until(lambda: not pinned.same(), "it has become cat")
        pinned.close()


def test_a_pinned_process_whose_parent_ended_is_not_the_same() -> None:
    """It has other processes above it now."""
    # By a descriptor of its own: a shell gives what it runs in the background an empty stdin, and it would end at once.
    script = "exec 3<&0; sh -c 'echo $$; read line <&3; exit' & wait"
    with subprocess.Popen(["/bin/sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as outer:
        assert outer.stdout is not None
        pinned = Linux().pin(int(outer.stdout.readline()))
        assert pinned is not None
        assert pinned.same()
        outer.kill()
        outer.wait()
        assert not pinned.same()
        pinned.close()
        assert outer.stdin is not None
        outer.stdin.close()


def test_a_process_with_other_mounts_is_apart(need: Callable[[bool, str], None]) -> None:
    """A path may lead it elsewhere; one that cannot be seen may be such a one."""
    assert not Linux().apart(os.getpid())
    assert Linux().apart(GONE)
    need(os.geteuid() == 0, "the right to make a mount namespace is missing")
    with _running("/usr/bin/unshare", "-m", "/bin/sh", "-c", "echo; read line; exit") as running:
        assert Linux().apart(running.pid)


def test_the_other_end_of_a_socket_is_named_by_the_kernel(tmp_path: Path) -> None:
    """Not by anything it says itself: user and process of whoever connected."""
    address = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        connect = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({address!r}); {WAITING}"
        with _running(sys.executable, "-I", "-S", "-c", connect) as program:
            connection, _ = listener.accept()
            with connection:
                assert Linux().peer(connection) == Peer(uid=os.getuid(), pid=program.pid)


def test_both_ends_of_a_pair_are_this_process() -> None:
    """A socket that was never connected by name has its maker as peer."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert Linux().peer(ours) == Peer(os.getuid(), os.getpid())


def test_a_connection_that_is_closed_is_an_error_not_a_peer() -> None:
    """Nobody is let in by the number of a descriptor that is gone."""
    ours, theirs = socket.socketpair()
    theirs.close()
    ours.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        Linux().peer(ours)


def test_a_hardened_process_shows_its_memory_to_nobody() -> None:
    """Not dumpable: no debugger of the same user attaches, and no core is ever written."""
    check = """
import ctypes, resource, sys
sys.path.insert(0, sys.argv[1])
from broker.platform.linux import Linux
from tests.real.process import wait_until
PR_GET_DUMPABLE = 3
prctl = ctypes.CDLL(None).prctl
print(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0))
Linux().harden()
print(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), *resource.getrlimit(resource.RLIMIT_CORE))
"""
    root = str(Path(platform.__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", check, root], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["1", "0", "0", "0"]
