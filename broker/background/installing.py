"""Installs the systemd user units, refreshes them after an upgrade, and removes them; what a person wrote stays."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from broker import __version__
from broker.background.stopping import stop
from broker.client import HEALTHY_WITHIN_S, Client
from broker.errors import BrokerError, ConfigError, UnsafePath
from broker.integrations import systemd, systemd_units
from broker.integrations.systemd_units import State, Unit

_ELSEWHERE: Final = "BROKER_CONFIG, BROKER_STATE_DIR or BROKER_SOCKET leads elsewhere than the service goes; unset them for this command"
_NOT_OURS: Final = "not as `broker setup systemd` writes it; move your changes into a drop-in (systemctl --user edit UNIT), or add --force"


class NotOurs(UnsafePath):
    """A unit file that a person wrote or edited; `difference` shows what replacing it would change."""

    def __init__(self, units: Sequence[Unit]) -> None:
        names = " and ".join(str(unit.path) for unit in units)
        super().__init__(f"{names}: {_NOT_OURS}")
        self.difference = "".join(unit.difference() for unit in units)


@dataclass(frozen=True, slots=True)
class Survey:
    """What is installed, and what the manager makes of it. `lingers` is None where nobody can tell."""

    units: Sequence[Unit]
    manager: Sequence[systemd.View]
    lingers: bool | None


def survey(env: Mapping[str, str] = os.environ) -> Survey:
    """Look at everything and change nothing. Raises `ConfigError`, `UnsafePath` where there is nothing to compare with."""
    return Survey(_units(env), systemd.view(), systemd.lingers())


def install(client: Client, *, force: bool = False, dry_run: bool = False) -> Iterator[str]:
    """Write the units, have the socket listen, and yield what was done, line by line.

    A daemon that runs by itself is stopped, one of an older version replaced; asks wait meanwhile. `force` replaces
    what a person wrote, and keeps it beside; `dry_run` only says what would be done. Raises `NotOurs`, `Unreachable`,
    `ConfigError`, `FileProblem`.
    """
    units = _ready_units(force=force)
    changed = [unit for unit in units if unit.state is not State.FINE]
    if dry_run:
        yield from (f"would write {unit.path} ({unit.state})\n{unit.difference()}" for unit in changed)
        return
    for unit in changed:
        unit.check()
    for unit in changed:
        kept = unit.write()
        yield f"wrote {unit.path}" + (f"; the old one is now {kept}" if kept else "")
    if changed or any(view.stale for view in systemd.view()):
        systemd.reload()
    yield from _take_over(client, changed)


def uninstall(*, force: bool = False, dry_run: bool = False) -> Iterator[str]:
    """Stop the daemon, remove exactly what `install` wrote, and yield what was done; drop-ins stay.

    `force` removes also what a person edited. Raises as `install` does.
    """
    units = _ready_units(force=force)
    ours = [unit for unit in units if unit.state not in {State.MISSING, State.FOREIGN}]
    if dry_run:
        yield from (f"would remove {unit.path}" for unit in ours)
        return
    if not ours:
        return
    systemd.disable(*(unit.path.name for unit in ours))
    yield "stopped and disabled the socket and the daemon"
    for unit in ours:
        unit.remove()
        yield f"removed {unit.path}"
    systemd.reload()
    drop_ins = [folder for unit in units if (folder := unit.path.with_name(f"{unit.path.name}.d")).is_dir()]
    yield from (f"left alone: {folder}" for folder in drop_ins)


def _take_over(client: Client, changed: Sequence[Unit]) -> Iterator[str]:
    """Bring what runs to what is installed.

    The manager knows the units by now, so a helper that finds no daemon starts this one, not one of its own.
    """
    if not systemd.is_active():
        if stop(client):
            yield "stopped the daemon that ran by itself"
        systemd.enable()
        yield f"listening on {client.socket_path}: the first ask starts the daemon"
        return
    systemd.enable()
    runs = systemd.view_of(systemd.SERVICE).active == "active"
    if any(unit.path.name == systemd.SOCKET for unit in changed):
        systemd.renew(systemd.SOCKET)  # takes the service with it
        yield "restarted the socket and the daemon" if runs else "restarted the socket"
    elif runs and (changed or _is_outdated(client)):
        systemd.renew(systemd.SERVICE)
        yield "restarted the daemon"


def _is_outdated(client: Client) -> bool:
    """Whether the service, which runs, is of another version than this one."""
    try:
        return bool(replace(client, timeout_s=HEALTHY_WITHIN_S).status()["daemon"]["version"] != __version__)
    except (BrokerError, KeyError, TypeError):
        return True  # one that does not answer as this version does


def _ready_units(*, force: bool) -> Sequence[Unit]:
    """Compare the units, after making sure that nothing stands in the way: nothing must be left half done."""
    if not systemd.default_places():
        raise ConfigError([_ELSEWHERE])
    systemd.require_manager(systemd_units.folder())
    units = _units(os.environ)
    theirs = [unit for unit in units if unit.is_a_persons]
    if theirs and not force:
        raise NotOurs(theirs)
    return units


def _units(env: Mapping[str, str]) -> Sequence[Unit]:
    return systemd_units.installed(systemd_units.folder(env), systemd_units.program())
