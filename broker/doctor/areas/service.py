"""The systemd user units: as this version writes them, known to the manager as they are, and not given up on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from broker.background import installing
from broker.doctor.finding import Finding, error, fine, notice, parted, warning
from broker.doctor.scene import Scene
from broker.errors import BrokerError
from broker.integrations import systemd, systemd_units
from broker.integrations.systemd import View
from broker.integrations.systemd_units import State, Unit

_SETUP: Final = "broker setup systemd"
_RELOAD: Final = "systemctl --user daemon-reload"
_LINES_MAX: Final = 3


def check(scene: Scene) -> list[Finding]:
    """Compare files and manager."""
    try:
        survey = installing.survey(scene.env)
    except BrokerError as problem:
        what, mend = parted(str(problem), _SETUP)
        return [notice("systemd-unknown", what, "nothing could be set up as a service", mend)]
    finally:
        scene.surveyed.set()
    if all(unit.state is State.MISSING for unit in survey.units):
        return [*_elsewhere(scene, survey.manager)] or [fine("systemd", "not set up: the helper starts the daemon")]
    found = [
        *(finding for unit in survey.units for finding in _file(unit)),
        *(finding for view in survey.manager for finding in _view(view)),
        *_manager(survey.manager),
        *_elsewhere(scene, survey.manager),
        *_lingers(survey.lingers),
    ]
    return found or [fine("systemd", "set up, and as this version writes it")]


def _file(unit: Unit) -> Iterator[Finding]:
    match unit.state:
        case State.FINE:
            return
        case State.MISSING:
            what, why = f"{unit.path} is missing", "the socket starts a service, and the service needs its socket"
        case State.OLDER:
            what = f"{unit.path} was written by another version, or for a program elsewhere{_changes(unit)}"
            why = "the service may start an old daemon, or none"
        case State.EDITED:
            what, why = f"{unit.path} was edited{_changes(unit)}", "an upgrade will not bring it up to date"
        case State.FOREIGN:
            what, why = f"{unit.path} was not written by {_SETUP}", "it may start something else than this daemon"
    force = "" if unit.state in {State.MISSING, State.OLDER} else " --force (keeps yours as *.bak)"
    yield warning(f"unit-{unit.state}", what, why, f"see what would change: {_SETUP} --dry-run; then: {_SETUP}{force}")


def _changes(unit: Unit) -> str:
    """Quote the first changed lines: a unit holds no secret of ours, but what a person wrote there stays out."""
    lines = [line for line in unit.difference().splitlines()[2:] if line.startswith("+") and "=" in line]
    return f" ({'; '.join(line[1:] for line in lines[:_LINES_MAX])} is missing)" if lines else ""


def _manager(manager: Sequence[View]) -> Iterator[Finding]:
    if not any(view.load for view in manager):
        what = "units are installed, but no systemd user manager answers"
        yield notice("no-manager", what, "the helper starts the daemon by itself", "sudo loginctl enable-linger $USER")


def _view(view: View) -> Iterator[Finding]:
    if view.failed:
        yield error(
            "unit-start-limit" if "limit" in view.result else "unit-failed",
            f"systemd gave up on {view.name} ({view.result or 'failed'})",
            "it is not started again by itself",
            f"see why: journalctl --user -u {view.name}; then: broker start",
        )
    if view.stale:
        why = "systemd still uses what it read before"
        yield warning("unit-stale", f"{view.file or view.name} changed on the disk", why, _RELOAD)
    if view.name == systemd.SOCKET and view.load == "loaded" and view.enabled not in {"enabled", "enabled-runtime"}:
        what = f"{view.name} is {view.enabled or 'not enabled'}"
        yield notice("unit-disabled", what, "after the next sign-in nothing listens", _SETUP)


def _elsewhere(scene: Scene, manager: Sequence[View]) -> Iterator[Finding]:
    own = systemd_units.folder(scene.env).resolve()
    for view in manager:
        if view.file and Path(view.file).parent.resolve() != own:
            yield warning(
                "unit-elsewhere",
                f"systemd takes {view.name} from {view.file}, not from {own}",
                f"{_SETUP} neither writes nor removes that one",
                f"see who put it there; to use your own: {_SETUP}",
            )


def _lingers(lingers: bool | None) -> Iterator[Finding]:  # noqa: FBT001  # the survey's own word
    if lingers is False:
        what = "lingering is off"
        why = "the daemon ends when you sign out, so what runs on (tmux, cron) gets no key from it"
        yield notice("no-linger", what, why, "loginctl enable-linger")
