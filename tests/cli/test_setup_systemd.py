"""`broker setup systemd`, through a `systemctl` that notes what it was told. The real one: tests/real."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from broker import __version__
from broker.background import installing
from broker.integrations import systemd
from broker.integrations.systemd_units import State
from tests.cli.conftest import Type
from tests.fakes.control import Script, serving

CONFIG = '[credentials.work]\nsource = "demo"\nlifetime = "1h"\n'


class Home:
    """A person's home, and a user manager that only takes notes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.units = folder / ".config" / "systemd" / "user"
        self.socket = folder / "broker" / "broker.sock"
        self.calls = folder / "calls"
        self.state = folder / "state"
        self.bin = folder / "bin"

    def told(self) -> list[str]:
        """Return what the manager was told since the last time, beside being looked at."""
        lines = self.calls.read_text().splitlines()
        self.calls.write_text("")
        return [line.removeprefix("--user --no-ask-password ") for line in lines if " show " not in line]

    def unit(self, name: str) -> str:
        """Read a unit."""
        return (self.units / name).read_text()

    def files(self) -> list[str]:
        """Name all that lies in the folder of units."""
        return sorted(path.name for path in self.units.iterdir()) if self.units.exists() else []


@pytest.fixture
def home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Make a home with the default places, an installation, a config, and a manager."""
    made = Home(folder)
    for name in ("BROKER_CONFIG", "BROKER_STATE_DIR", "BROKER_SOCKET", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    monkeypatch.setattr(systemd, "_BOOTED", folder)
    made.bin.mkdir()
    (made.bin / "broker").touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(made.bin / "python"))
    (made.bin / "systemctl").write_text(
        f'#!/bin/sh\necho "$*" >> {made.calls}\n'
        f'case "$*" in *UnitPath*) echo {made.units};; *show*) cat {made.state};; esac\n'
    )
    (made.bin / "loginctl").write_text("#!/bin/sh\necho no\n")
    for name in ("systemctl", "loginctl"):
        (made.bin / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(made.bin), prepend=":")
    made.calls.touch()
    made.state.write_text("ActiveState=inactive\n")
    config = folder / ".config" / "broker" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(CONFIG)
    config.chmod(0o600)
    return made


def test_one_command_installs_and_enables(type_: Type, home: Home) -> None:
    """The units start this installation's program; the first ask starts the daemon."""
    said = type_("setup systemd")
    assert said.code == 0
    assert said.out == (
        f"wrote {home.units}/broker.socket\nwrote {home.units}/broker.service\n"
        f"listening on {home.socket}: the first ask starts the daemon\n"
    )
    assert said.err.splitlines() == [
        "note: lingering is off, so the daemon ends when you sign out (tmux, cron); to change that: loginctl enable-linger"
    ]
    assert f'\nExecStart="{home.bin}/broker" run\n' in home.unit("broker.service")
    assert home.told() == ["daemon-reload", "enable --now broker.socket"]


def test_a_second_time_changes_nothing(type_: Type, home: Home) -> None:
    """And restarts nothing."""
    type_("setup systemd")
    before = {name: (home.units / name).stat().st_mtime_ns for name in home.files()}
    home.told()
    home.state.write_text("ActiveState=active\n")
    with serving(home.socket, Script(daemon={"version": __version__})):
        said = type_("setup systemd")
    assert (said.code, said.out) == (0, "set up already\n")
    assert home.told() == ["enable --now broker.socket"]
    assert {name: (home.units / name).stat().st_mtime_ns for name in home.files()} == before


def test_after_an_upgrade_it_refreshes_and_restarts(type_: Type, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older unit is replaced unasked; asks wait in the socket while the daemon is."""
    type_("setup systemd")
    new = home.folder / "new" / "broker"
    new.parent.mkdir()
    shutil.copy(home.bin / "broker", new)
    home.told()
    home.state.write_text("ActiveState=active\n")
    monkeypatch.setattr(sys, "executable", str(new.with_name("python")))
    said = type_("setup systemd")
    assert said.out == f"wrote {home.units}/broker.service\nrestarted the daemon\n"
    assert home.told() == ["daemon-reload", "enable --now broker.socket", "try-restart broker.service"]
    assert str(new) in home.unit("broker.service")


@pytest.mark.parametrize(
    "script", [Script(daemon={"version": "0.0.1"}), Script(raw={"/v1/status": b"{}"})], ids=["older", "foreign"]
)
def test_a_daemon_of_an_older_version_is_replaced(type_: Type, home: Home, script: Script) -> None:
    """After an upgrade in place no file changes; what runs is old all the same."""
    type_("setup systemd")
    home.told()
    home.state.write_text("ActiveState=active\n")
    with serving(home.socket, script):
        assert type_("setup systemd").out == "restarted the daemon\n"
    assert home.told() == ["enable --now broker.socket", "try-restart broker.service"]


def test_a_changed_socket_unit_is_taken_over_too(type_: Type, home: Home) -> None:
    """The manager would go on with the old one."""
    type_("setup systemd")
    home.told()
    (home.units / "broker.socket").unlink()
    home.state.write_text("ActiveState=active\n")
    assert type_("setup systemd").out == f"wrote {home.units}/broker.socket\nrestarted the socket and the daemon\n"
    assert home.told()[-1] == "try-restart broker.socket"
    (home.units / "broker.socket").unlink()
    home.state.write_text("ActiveState=activating\n")
    assert type_("setup systemd").out == f"wrote {home.units}/broker.socket\nrestarted the socket\n"


def test_a_changed_unit_of_a_daemon_that_does_not_run_restarts_nothing(type_: Type, home: Home) -> None:
    """The socket waits; the next start takes the new unit, also where the manager only has yet to read it."""
    type_("setup systemd")
    home.told()
    (home.units / "broker.service").unlink()
    home.state.write_text("ActiveState=activating\n")
    assert type_("setup systemd").out == f"wrote {home.units}/broker.service\n"
    assert home.told() == ["daemon-reload", "enable --now broker.socket"]
    home.state.write_text("ActiveState=activating\nNeedDaemonReload=yes\n")
    assert type_("setup systemd").out == "set up already\n"
    assert home.told() == ["daemon-reload", "enable --now broker.socket"]


def test_a_daemon_that_ran_by_itself_is_stopped_first(type_: Type, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the units are known to the manager: a helper that asks meanwhile starts the service."""
    monkeypatch.setattr(installing, "stop", lambda _client: home.told() == ["daemon-reload"])
    assert "stopped the daemon that ran by itself\n" in type_("setup systemd").out
    assert home.told() == ["enable --now broker.socket"]


@pytest.mark.parametrize("options", ["", "--undo"])
def test_an_edited_unit_is_not_touched(type_: Type, home: Home, options: str) -> None:
    """The difference is shown, and where changes belong."""
    type_("setup systemd")
    home.told()
    edited = home.unit("broker.service") + "Environment=MINE=1\n"
    (home.units / "broker.service").write_text(edited)
    said = type_(f"setup systemd {options}")
    assert said.code == 77
    assert said.out == ""
    assert "-Environment=MINE=1\n" in said.err
    assert said.err.splitlines()[-1] == (
        f"broker: {home.units}/broker.service: not as `broker setup systemd` writes it; "
        "move your changes into a drop-in (systemctl --user edit UNIT), or add --force"
    )
    assert home.unit("broker.service") == edited
    assert home.told() == []


def test_force_replaces_and_keeps_what_was_there(type_: Type, home: Home) -> None:
    """Nothing that a person wrote is lost."""
    home.units.mkdir(parents=True)
    (home.units / "broker.service").write_text("[Service]\nExecStart=/bin/mine\n")
    said = type_("setup systemd --force")
    assert f"wrote {home.units}/broker.service; the old one is now {home.units}/broker.service.bak\n" in said.out
    assert home.unit("broker.service.bak") == "[Service]\nExecStart=/bin/mine\n"


def test_a_dry_run_shows_and_does_nothing(type_: Type, home: Home) -> None:
    """Neither on disk nor to the manager."""
    said = type_("setup systemd --dry-run")
    assert (said.code, said.err) == (0, "")
    assert f"would write {home.units}/broker.service (missing)\n" in said.out
    assert f'\n+ExecStart="{home.bin}/broker" run\n' in said.out
    assert home.files() == []
    type_("setup systemd")
    home.told()
    said = type_("setup systemd --undo --dry-run")
    assert said.out == f"would remove {home.units}/broker.socket\nwould remove {home.units}/broker.service\n"
    assert home.files() == ["broker.service", "broker.socket"]
    assert home.told() == []


def test_undo_leaves_nothing_but_a_persons_own(type_: Type, home: Home) -> None:
    """Exactly what the set-up wrote goes; a drop-in is the person's."""
    type_("setup systemd")
    home.told()
    (home.units / "broker.service.d").mkdir()
    said = type_("setup systemd --undo")
    assert said.out == (
        "stopped and disabled the socket and the daemon\n"
        f"removed {home.units}/broker.socket\nremoved {home.units}/broker.service\n"
        f"left alone: {home.units}/broker.service.d\n"
    )
    assert home.told() == ["disable --now broker.socket broker.service", "daemon-reload"]
    (home.units / "broker.service.d").rmdir()
    assert type_("setup systemd --undo").out == "nothing to undo\n"
    assert home.told() == []


def test_undo_never_removes_what_it_did_not_write(type_: Type, home: Home) -> None:
    """Not even by force: somebody else's unit of that name is theirs to remove."""
    home.units.mkdir(parents=True)
    (home.units / "broker.service").write_text("[Service]\nExecStart=/bin/mine\n")
    assert type_("setup systemd --undo").code == 77
    assert type_("setup systemd --undo --force").out == "nothing to undo\n"
    assert home.files() == ["broker.service"]


def test_without_a_manager_nothing_is_written(type_: Type, home: Home) -> None:
    """It says what to run, and leaves nothing half done."""
    (home.bin / "systemctl").write_text("#!/bin/sh\necho 'Failed to connect to bus' >&2\nexit 1\n")
    said = type_("setup systemd")
    assert (said.code, said.out) == (69, "")
    assert said.err.startswith("broker: no systemd user manager answers; have one run, by `sudo loginctl enable-linger")
    assert home.files() == []


@pytest.mark.parametrize("name", ["BROKER_CONFIG", "BROKER_STATE_DIR", "BROKER_SOCKET"])
def test_places_of_ones_own_are_not_the_services(
    type_: Type, home: Home, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service would serve another config than the one in use, without a word."""
    monkeypatch.setenv(name, "/tmp/x")
    said = type_("setup systemd")
    assert (said.code, home.files()) == (78, [])
    assert "leads elsewhere than the service goes" in said.err


def test_without_a_config_it_says_so(type_: Type, home: Home) -> None:
    """The socket may be set up first; the first ask would only fail."""
    (home.folder / ".config" / "broker" / "config.toml").unlink()
    said = type_("setup systemd")
    assert said.code == 0
    assert "note: the config is not ready, so the first ask will fail; see: broker config check\n" in said.err


def test_an_installation_without_the_program_is_no_service(type_: Type, home: Home) -> None:
    """A checkout on the path has no `broker` that systemd could start."""
    (home.bin / "broker").unlink()
    said = type_("setup systemd")
    assert (said.code, home.files()) == (77, [])
    assert f"{home.bin}/broker is missing" in said.err


def test_a_folder_that_cannot_be_written_is_one_line(type_: Type, home: Home) -> None:
    """Nothing is enabled then."""
    home.units.parent.parent.joinpath("systemd").write_text("in the way")
    said = type_("setup systemd")
    assert (said.code, said.out) == (74, "")
    assert said.err.startswith("broker: ")
    assert said.err.count("\n") == 1
    assert home.told() == []


def test_a_survey_says_how_installed_and_wanted_compare(type_: Type, home: Home) -> None:
    """What `broker doctor` reports: each unit's file, the manager's view of it, and lingering."""
    assert {unit.state for unit in installing.survey().units} == {State.MISSING}
    type_("setup systemd")
    home.state.write_text("LoadState=loaded\nActiveState=failed\nResult=service-start-limit-hit\n")
    home.told()
    found = installing.survey()
    assert {unit.state for unit in found.units} == {State.FINE}
    assert {(unit.failed, unit.result) for unit in found.manager} == {(True, "service-start-limit-hit")}
    assert found.lingers is False
    assert home.told() == []
