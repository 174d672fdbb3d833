"""The daemon as a process of its own: cut off from who started it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.background import detached
from tests.background.conftest import pid
from tests.cli.conftest import Type

Spawn = Callable[..., subprocess.Popen[str]]


def test_the_daemon_is_cut_off_from_who_started_it(type_: Type, config: Path, folder: Path) -> None:
    """Closing the terminal, or removing the folder it was started in, does not concern it."""
    daemon = pid(type_("start").out)
    assert os.getsid(daemon) == daemon
    if Path("/proc/self").exists() and os.access(f"/proc/{daemon}/cwd", os.R_OK):
        assert Path(f"/proc/{daemon}/cwd").readlink() == Path("/")


def test_a_folder_called_broker_is_not_the_daemon(spawn: Spawn, config: Path, folder: Path) -> None:
    """A project could hold a package of our name: the daemon never looks into the caller's folder."""
    (folder / "broker").mkdir()
    (folder / "broker" / "__init__.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
    start = spawn("start")
    start.communicate(timeout=30)
    assert start.returncode == 0
    assert not (folder / "ran").exists()


def test_the_daemons_environment_is_the_callers_without_what_steers_loaders(monkeypatch: pytest.MonkeyPatch) -> None:
    """`env` sources read it; another service's sockets and a loader's settings are none of its business."""
    given = {"MY_KEY": "fake", "PATH": "/bin", "LD_PRELOAD": "x", "PYTHONSTARTUP": "x", "LISTEN_FDS": "1"}
    given |= {"NOTIFY_SOCKET": "x", "CLAUDECODE": "1", "BROKER_CONFIG": "/c"}
    handed_on = detached.environment(given)
    handed_on.pop("PYTHONPATH", None)
    assert handed_on == {"MY_KEY": "fake", "PATH": "/bin", "BROKER_CONFIG": "/c"}


def test_a_relative_config_is_the_callers_also_for_the_daemon(
    type_: Type, config: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`BROKER_CONFIG=./config.toml broker start` means the file here, although the daemon runs in `/`."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("BROKER_CONFIG", "./config.toml")
    assert type_("start").code == 0
    assert "work" in type_("status").out
