"""`broker setup systemd` under a real user manager: installs, takes over, follows a move, hands over a key, undoes."""

from __future__ import annotations

import json
import re
import site
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.real.conftest import Need
from tests.real.installed import BROKER, HELPER, Place
from tests.real.systemd_user import RUNTIME_DIR, UserManager, give, missing, user_manager

pytestmark = pytest.mark.real

CONFIG: Final = '[credentials.work]\nsource = "demo"\nlifetime = "1h"\n'

CHECKOUT: Final = Path(__file__).parents[2]


@pytest.fixture
def manager(need: Need, place: Place) -> Iterator[UserManager]:
    """A user manager that knows nothing of the broker; its user has a config."""
    lacking = missing()
    need(lacking is None, str(lacking))
    place.folder.chmod(0o755)
    with user_manager(place.folder / "home") as started:
        started.config.parent.mkdir(parents=True)
        configure(started, CONFIG)
        yield started


def configure(manager: UserManager, toml: str) -> None:
    """Write the config as its user would."""
    manager.config.write_text(toml)
    manager.config.chmod(0o600)
    give(manager.home)


def pid(manager: UserManager) -> str:
    """Ask the daemon that serves for its pid, as seen inside."""
    return str(json.loads(manager.run(str(BROKER), "status", "--json").stdout)["daemon"]["pid"])


def token(manager: UserManager, **env: str) -> str:
    """Ask as Claude Code does; return the token, or what went wrong."""
    asked = manager.run("env", *(f"{name}={value}" for name, value in env.items()), str(HELPER), "work")
    return asked.stdout or asked.stderr


def everything(manager: UserManager) -> set[str]:
    """Name every file below the config folder, and every unit of ours that the manager knows."""
    files = {str(path) for path in (manager.home / ".config").rglob("*")}
    known = manager.systemctl("list-units", "--all", "--plain", "--no-legend", "broker*")
    return files | set(known.split())


@pytest.fixture
def moved(manager: UserManager) -> Path:
    """Install the broker a second time, where blanks, `$` and `%` are in the path; return its `broker`."""
    folder = manager.home / "apps $HOME 100%h ${x}"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "all.pth").write_text("\n".join([*site.getsitepackages(), str(CHECKOUT)]))
    broker = folder / "bin" / "broker"
    # As pip writes a script whose interpreter's path a first line cannot hold.
    broker.write_text(
        f"#!/bin/sh\n'''exec' \"{str(folder / 'bin' / 'python').replace('$', chr(92) + '$')}\" \"$0\" \"$@\"\n' '''\n"
        "import sys\nfrom broker.cli import main\nsys.exit(main())\n"
    )
    broker.chmod(0o755)
    give(manager.home)
    return broker


def test_a_daemon_that_ran_by_itself_is_taken_over(manager: UserManager) -> None:
    """The helper had started one; afterwards there is one daemon, and it is the service's."""
    assert token(manager).startswith("demo-")
    before = pid(manager)
    said = manager.setup()
    assert (said.returncode, said.stdout.splitlines()[2]) == (0, "stopped the daemon that ran by itself")
    assert manager.main_pid() == "0"
    assert token(manager, BROKER_AUTOSTART="0").startswith("demo-")
    assert before != pid(manager) == manager.main_pid()


def test_undo_leaves_nothing_and_the_helper_works_on(manager: UserManager) -> None:
    """No file, no unit, no process; from then on the helper starts the daemon by itself again."""
    before = everything(manager)
    assert manager.setup().returncode == 0
    assert token(manager).startswith("demo-")
    assert everything(manager) != before
    undone = manager.setup("--undo")
    assert (undone.returncode, undone.stderr) == (0, "")
    assert everything(manager) == before
    assert manager.run("pgrep", "-f", "broker run").stdout == ""
    assert manager.run("ls", f"{RUNTIME_DIR}/broker").stdout.split() == ["socket.lock"]
    assert token(manager).startswith("demo-")


def test_twice_is_as_good_as_once(manager: UserManager) -> None:
    """The second time restarts nothing."""
    assert manager.setup().returncode == 0
    assert token(manager).startswith("demo-")
    running = manager.main_pid()
    again = manager.setup()
    assert (again.returncode, again.stdout) == (0, "set up already\n")
    assert manager.main_pid() == running


def test_after_a_move_the_new_program_runs_and_a_drop_in_stays(manager: UserManager, moved: Path) -> None:
    """Whatever characters its path has; what a person added by `systemctl edit` is still in force."""
    assert manager.setup().returncode == 0
    assert token(manager).startswith("demo-")
    old = manager.main_pid()
    manager.drop_in("mine.conf", "[Service]\nTimeoutStopSec=7s\n")
    said = manager.setup(broker=moved)
    assert said.returncode == 0, said.stderr
    assert said.stdout == f"wrote {manager.units}/broker.service\nrestarted the daemon\n"
    assert manager.main_pid() not in {old, "0"}
    arguments = manager.run("cat", f"/proc/{manager.main_pid()}/cmdline").stdout.split("\0")
    assert str(moved) in arguments
    assert manager.show("TimeoutStopUSec") == "7s"
    assert token(manager, BROKER_AUTOSTART="0").startswith("demo-")
    assert manager.run(str(moved), "stop").stdout == "stopped\n"


def test_a_changed_socket_is_taken_over_while_the_daemon_runs(manager: UserManager) -> None:
    """As after an upgrade that brings another broker.socket: it is written by hand here, so with --force."""
    assert manager.setup().returncode == 0
    assert token(manager).startswith("demo-")
    unit = manager.units / "broker.socket"
    unit.write_text(unit.read_text().replace("Backlog=1024", "Backlog=7"))
    manager.systemctl("daemon-reload")
    said = manager.setup("--force")
    assert (said.returncode, said.stdout.splitlines()[-1]) == (0, "restarted the socket and the daemon")
    assert manager.show("Backlog", "broker.socket") == "1024"
    assert token(manager, BROKER_AUTOSTART="0").startswith("demo-")


def test_without_a_manager_it_says_what_to_run(manager: UserManager) -> None:
    """And writes nothing."""
    before = everything(manager)
    elsewhere = manager.run("env", "XDG_RUNTIME_DIR=/tmp/nowhere", str(BROKER), "setup", "systemd")
    assert elsewhere.returncode == 69
    assert "loginctl enable-linger" in elsewhere.stderr
    assert everything(manager) == before


def test_it_works_where_no_variable_names_the_manager(manager: UserManager) -> None:
    """As after `su` and in cron: the service is set up, and asked, and no second daemon started beside it."""
    bare = ("env", "-u", "XDG_RUNTIME_DIR")
    assert manager.run(*bare, str(BROKER), "setup", "systemd").returncode == 0
    assert manager.run(*bare, str(BROKER), "stop").stdout == "stopped\n"
    assert manager.run(*bare, str(HELPER), "work").stdout.startswith("demo-")
    assert pid(manager) == manager.main_pid()


def test_the_manager_hands_over_the_key_of_the_store(manager: UserManager) -> None:
    """From a socket, as systemd/at-rest-key.conf has it for systemd before 256; a restart then asks no source."""
    configure(manager, f'{CONFIG}[daemon]\npersist = "systemd"\n')
    (manager.home / "key").write_bytes(bytes(range(32)))
    (documented,) = re.findall(
        "^#(LoadCredential=.*)", (CHECKOUT / "systemd" / "at-rest-key.conf").read_text(), re.MULTILINE
    )
    manager.drop_in("at-rest-key.conf", f"[Service]\n{documented.replace('/run/broker-cache-key/%U', '%t/key')}\n")
    (manager.units / "key.socket").write_text("[Socket]\nListenStream=%t/key\nSocketMode=0600\nAccept=yes\n")
    (manager.units / "key@.service").write_text("[Service]\nStandardOutput=socket\nExecStart=/bin/cat %h/key\n")
    give(manager.home)
    manager.systemctl("daemon-reload")
    manager.systemctl("start", "key.socket")
    assert manager.setup().returncode == 0
    first = token(manager)
    assert re.fullmatch("demo-.*\n", first)
    manager.systemctl("restart", "broker.service")
    assert token(manager) == first
