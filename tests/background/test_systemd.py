"""Start, stop and restart where the systemd user service is set up."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker import background
from broker.client import Client
from tests.background.conftest import CONFIG
from tests.cli.conftest import Type
from tests.fakes.control import Script, serving


@pytest.fixture
def unit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have the systemd user service set up, its daemon serving; give the file of what `systemctl` was told."""
    for name in ("BROKER_CONFIG", "BROKER_STATE_DIR", "BROKER_SOCKET"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    calls = folder / "calls"
    (folder / "systemctl").write_text(
        f'#!/bin/sh\ncase "$*" in *LoadState*) echo LoadState=loaded;; *ActiveState*) echo ActiveState=$(cat {folder}/state);; *) echo "$*" >> {calls};; esac\n'
    )
    (folder / "systemctl").chmod(0o755)
    (folder / "state").write_text("inactive\n")
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return calls


def test_start_goes_through_the_service_where_it_is_set_up(
    unit: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One daemon, and systemd knows it."""
    monkeypatch.setattr(Client, "healthy", lambda _: unit.exists())
    assert background.start(Client(folder / "broker" / "broker.sock"))
    assert unit.read_text() == "--user --no-ask-password start broker.socket broker.service\n"


def test_stop_and_restart_go_through_an_active_service(type_: Type, unit: Path, folder: Path) -> None:
    """Its process is systemd's to end."""
    (folder / "state").write_text("active\n")
    assert type_("stop").out == "stopped\n"
    (folder / ".config" / "broker").mkdir(parents=True)
    config = folder / ".config" / "broker" / "config.toml"
    config.write_text(CONFIG)
    config.chmod(0o600)
    with serving(folder / "broker" / "broker.sock", Script()):
        assert type_("restart").code == 0
    assert unit.read_text().splitlines() == [
        "--user --no-ask-password stop broker.socket broker.service",
        "--user --no-ask-password restart broker.service",
    ]


def test_a_reload_goes_through_an_active_service(unit: Path, folder: Path) -> None:
    """`broker setup claude-code` changes the config: systemd holds the socket, so it alone knows whom to tell."""
    (folder / "state").write_text("active\n")
    assert background.reload(Client(folder / "broker" / "broker.sock"))
    assert unit.read_text() == "--user --no-ask-password try-reload-or-restart broker.service\n"


def test_stop_leaves_an_inactive_service_alone(type_: Type, unit: Path) -> None:
    """Nothing runs, so nothing is told to stop."""
    assert type_("stop").out == "no daemon was running\n"
    assert not unit.exists()
