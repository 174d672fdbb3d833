"""What the daemon and the programs that it runs show of themselves, on a daemon started carelessly (conftest)."""

from __future__ import annotations

import os
import resource
import signal
import stat
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from tests.hygiene.conftest import CARELESS, SECRETS, STEERING
from tests.real.installed import Daemon, a_place, running
from tests.real.process import wait_until

pytestmark = pytest.mark.slow

PASSED: Final = {
    *("HOME", "PATH", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"),
    *("DBUS_SESSION_BUS_ADDRESS", "SSH_AUTH_SOCK", "LC_CTYPE"),
}
"""All that a command may get beside `LC_*`, and what its source names in `env`. (Python sets LC_CTYPE itself.)"""


def test_a_command_gets_nothing_of_the_daemons_environment(seen: dict[str, Any]) -> None:
    """No cloud key, no token of another tool, nothing that steers a loader or an interpreter, nothing of our own."""
    assert set(seen["env"]) <= PASSED
    assert not set(seen["env"].values()) & {*SECRETS.values(), *STEERING.values()}


def test_a_command_gets_no_descriptor_of_the_daemons(seen: dict[str, Any]) -> None:
    """Neither the control socket nor a connection, lock or file: only nothing to read, and two pipes to write to."""
    descriptors = {int(number): where for number, where in seen["descriptors"].items()}
    assert descriptors.pop(0) == "/dev/null"
    assert [where.partition(":")[0] for _number, where in sorted(descriptors.items())] == ["pipe", "pipe"]


def test_a_command_runs_apart(seen: dict[str, Any]) -> None:
    """In `/`, where no project's files steer it; without a terminal; its files closed to others; without a core."""
    assert (seen["folder"], seen["is_session_leader"]) == ("/", True)
    assert (seen["umask"], seen["core_limit"]) == (0o077, [0, 0])


def test_every_file_it_makes_is_its_owners_alone(careless: Daemon) -> None:
    """Socket, locks, state: whatever umask it was started with."""
    place = careless.place
    made = [path for folder in (place.socket.parent, place.folder / "state") for path in (folder, *folder.rglob("*"))]
    assert place.socket in made
    assert {path.name: oct(stat.S_IMODE(path.lstat().st_mode)) for path in made if path.lstat().st_mode & 0o077} == {}


def test_its_command_line_says_nothing(careless: Daemon) -> None:
    """Everybody on the machine can read it."""
    words = Path(f"/proc/{careless.process.pid}/cmdline").read_text().split("\0")
    assert words[-2:] == ["run", ""]
    assert not [word for word in words if "fake" in word]


def test_its_log_and_status_say_nothing_of_its_environment(careless: Daemon) -> None:
    """Not even where a fetch is told in detail."""
    _status, body = careless.place.call("GET", "/v1/status")
    log = (careless.place.folder / "daemon.stderr").read_text()
    assert "fake-planted" not in log + body.decode()
    assert "fake-token" not in log + body.decode()


def test_no_token_is_readable_on_its_disk(careless: Daemon) -> None:
    """What it keeps, it keeps encrypted; its key stays where it was."""
    files = [path for path in (careless.place.folder / "state").rglob("*") if path.is_file()]
    assert "cache.bin" in {path.name for path in files}
    for path in files:
        assert not [word for word in (b"fake-token", b"fake-planted", b"fake-key") if word in path.read_bytes()], path


def test_no_core_is_left_of_it(tmp_path: Path) -> None:
    """It dies by SIGABRT without one, in a shell that allows cores of any size and in a folder that it may write."""
    with a_place() as place:
        place.configure('[credentials.work]\nsource = "command"\nargv = ["/bin/echo", "fake-token-1"]\n')
        with running(place, command=CARELESS) as daemon:
            assert place.call("GET", "/v1/token") == (200, b"fake-token-1")
            assert resource.prlimit(daemon.process.pid, resource.RLIMIT_CORE) == (0, 0)
            assert how_it_died(daemon.process.pid) == os.CLD_KILLED
            daemon.process.wait()
        assert not list(place.folder.glob("core*"))
    if machine_leaves_cores():  # else the above could not have failed by its effect
        assert sleeper_died(tmp_path) == os.CLD_DUMPED


def machine_leaves_cores() -> bool:
    """Whether the kernel writes cores as files at all."""
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    return hard != 0 and not Path("/proc/sys/kernel/core_pattern").read_text().startswith(("|", "/", "\n"))


def sleeper_died(folder: Path) -> int:
    """End another program, started in the same way, by SIGABRT."""
    shell = [*CARELESS[:2], CARELESS[2].replace('"$0" run', "/bin/sleep 60")]
    with subprocess.Popen(shell, cwd=folder, stdout=subprocess.PIPE) as process:
        comm = Path(f"/proc/{process.pid}/comm")
        wait_until(lambda: comm.read_text() == "sleep\n", "it runs")
        died = how_it_died(process.pid)
        process.wait()
    return died


def how_it_died(pid: int) -> int:
    """End a child by SIGABRT; return whether it was only killed or also left a core (waitid's `si_code`)."""
    os.kill(pid, signal.SIGABRT)
    found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert found is not None
    return found.si_code
