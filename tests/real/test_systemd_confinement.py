"""What broker.service keeps the daemon, and the commands that it runs, from doing: each line by its effect."""

from __future__ import annotations

import json
import platform
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.real import confinement
from tests.real.conftest import Need
from tests.real.installed import HELPER, a_place
from tests.real.systemd_user import UserManager, give, missing, user_manager

pytestmark = pytest.mark.real

SERVICE: Final = Path(__file__).parents[2] / "systemd" / "broker.service"

EFFECTS: Final = {
    "UMask": ("umask", "0644", "0600"),
    "LimitCORE": ("core", "ok", "EPERM"),
    "NoNewPrivileges": ("setuid program", "0", "1234"),
    "LockPersonality": ("personality", "ok", "EPERM"),
    "RestrictRealtime": ("scheduler", "ok", "EPERM"),
    "RestrictSUIDSGID": ("setuid file", "ok", "EPERM"),
    "RestrictNamespaces": ("namespace", "ok", "EPERM"),
    "RestrictAddressFamilies": ("packet socket", "EPERM", "EAFNOSUPPORT"),
    "SystemCallArchitectures": ("32-bit call", "ok", "signal 31"),
    "SystemCallFilter": ("ptrace", "ok", "EPERM"),
    "UnsetEnvironment": ("environment", " ".join(confinement.STEERING), ""),
}
"""Each line: what is tried, what comes of it without the line, and with it."""

OF_SERVICE_AS_SUCH: Final = {
    "Type",
    "ExecStart",
    "ExecReload",
    "WorkingDirectory",
    "Restart",
    "RestartPreventExitStatus",
    "WatchdogSec",
    "KillMode",
    "TimeoutStopSec",
    "SystemCallErrorNumber",  # says how SystemCallFilter's effect looks, and is tested with it
}
EXPOSURE_MAX: Final = 6.6
"""Of 10, by `systemd-analyze security` of systemd 252; what is left is not to be had in a user's manager."""

CONFIG: Final = """
[credentials.confined]
source = "command"
argv = {argv}
format = "text"

[sources.command]
type = "command"
env = {env}
"""


def lines() -> Mapping[str, str]:
    """Read the service's part of the unit, line by line."""
    text = SERVICE.read_text().partition("[Service]\n")[2].partition("[Install]")[0]
    return dict(line.split("=", 1) for line in text.splitlines() if line and not line.startswith("#"))


def probed() -> list[str]:
    """Name the lines that this machine can show; 32-bit code is there for one processor."""
    return [name for name in EFFECTS if name != "SystemCallArchitectures" or platform.machine() == "x86_64"]


@pytest.fixture(scope="module")
def manager(need: Need) -> Iterator[UserManager]:
    """A user manager whose environment somebody's shell has filled."""
    lacking = missing()
    need(lacking is None, str(lacking))
    with a_place() as place:
        place.folder.chmod(0o755)
        with user_manager(place.folder / "home") as started:
            started.systemctl("set-environment", *(f"{name}=/from/a/shell" for name in confinement.STEERING))
            yield started


@pytest.fixture(scope="module")
def attempt(manager: UserManager) -> list[str]:
    """Return the command line that tries everything; beside it lies a program that is setuid root."""
    setuid_id = manager.home.parent / "setuid-id"
    shutil.copy("/usr/bin/id", setuid_id)
    setuid_id.chmod(0o4755)
    return [sys.executable, "-I", confinement.__file__, str(setuid_id)]


@pytest.fixture(scope="module")
def by_line(manager: UserManager, attempt: list[str]) -> Mapping[str, Mapping[str, str]]:
    """Try everything under each line alone, and under none (``): the outcomes by line."""
    manager.units.mkdir(parents=True)
    for name in ["", *probed()]:
        more = f"SystemCallErrorNumber={lines()['SystemCallErrorNumber']}\n" if name == "SystemCallFilter" else ""
        only = f"{name}={lines()[name]}\n{more}" if name else ""
        (manager.units / f"attempt{name}.service").write_text(
            f"[Service]\nType=oneshot\nStandardOutput=file:{manager.home}/{name}.out\nStandardError=null\n{only}ExecStart={' '.join(attempt)}\n"
        )
    give(manager.home)
    manager.systemctl("daemon-reload")
    manager.systemctl("start", *(f"attempt{name}.service" for name in ["", *probed()]))
    return {name: read((manager.home / f"{name}.out").read_text()) for name in ["", *probed()]}


@pytest.fixture(scope="module")
def of_a_command(manager: UserManager, attempt: list[str]) -> Mapping[str, str]:
    """Try everything in a command that the installed daemon runs to get a token."""
    manager.config.parent.mkdir(parents=True)
    manager.config.write_text(CONFIG.format(argv=json.dumps(attempt), env=json.dumps(confinement.STEERING)))
    manager.config.chmod(0o600)
    give(manager.home)
    done = manager.setup()
    assert done.returncode == 0, done.stderr
    asked = manager.run(str(HELPER), "confined")
    assert asked.returncode == 0, asked.stderr
    return read(asked.stdout)


def read(answer: str) -> Mapping[str, str]:
    """Read what the attempts came to."""
    outcomes: dict[str, str] = json.loads(bytes.fromhex(answer))
    return outcomes


def test_every_line_that_confines_is_tested() -> None:
    """A line that a user's manager ignores would promise what it does not hold."""
    assert set(lines()) - OF_SERVICE_AS_SUCH == set(EFFECTS)


@pytest.mark.parametrize("name", probed())
def test_a_line_does_what_it_says_by_itself(by_line: Mapping[str, Mapping[str, str]], name: str) -> None:
    """A user's manager really applies it: what works without it fails with nothing but it."""
    tried, without, with_it = EFFECTS[name]
    assert by_line[""][tried] == without
    assert by_line[name][tried] == with_it


@pytest.mark.parametrize("name", probed())
def test_a_command_source_is_confined(of_a_command: Mapping[str, str], name: str) -> None:
    """What the daemon runs for a token is under all the lines; nor does a bad environment keep the daemon down."""
    tried, _, with_it = EFFECTS[name]
    assert of_a_command[tried] == with_it


def test_a_command_source_may_still_resolve_names(of_a_command: Mapping[str, str]) -> None:
    """The resolver asks over netlink which address families there are."""
    assert of_a_command["netlink socket"] == "ok"


def test_the_exposure_does_not_grow(manager: UserManager) -> None:
    """`systemd-analyze security` finds no more than it found when the lines were chosen."""
    checked = manager.run("systemd-analyze", "--user", "security", "--offline=true", "--no-pager", str(SERVICE))
    found = re.search(r"exposure level for broker\.service: ([\d.]+)", checked.stdout)
    assert found, checked.stderr
    assert float(found[1]) <= EXPOSURE_MAX
