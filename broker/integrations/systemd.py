"""The systemd user service: is it set up for this socket, how is it, and start, stop and restart it.

Contract: systemctl(1), loginctl(1). `broker setup systemd` installs the units.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.errors import ConfigError, Unreachable

SERVICE: Final = "broker.service"
SOCKET: Final = "broker.socket"
_LOOK_S: Final = 5.0
_ACT_S: Final = 60.0
_RUNS: Final = ("active", "activating", "reloading", "deactivating")
_BOOTED: Final = Path("/run/systemd/system")  # sd_booted(3)
_RUN_USER: Final = Path("/run/user")
_NO_MANAGER: Final = "have one run, by `sudo loginctl enable-linger $USER` or a new sign-in, and run this again"
_PROPERTIES: Final = ("LoadState", "ActiveState", "UnitFileState", "Result", "NeedDaemonReload", "FragmentPath")


@dataclass(frozen=True, slots=True)
class View:
    """A unit as the user manager sees it; the words are systemd's own, empty where no manager answers.

    `result` says why it failed: `exit-code`, `start-limit-hit`, `service-start-limit-hit`, `trigger-limit-hit` ...
    `file` is where the manager found the unit. `stale`: that file changed and the manager has not read it again.
    """

    name: str
    load: str
    active: str
    enabled: str
    result: str
    stale: bool
    file: str

    @property
    def failed(self) -> bool:
        """Whether systemd gave it up, and it must be forgiven before it starts again."""
        return self.active == "failed"


def view() -> list[View]:
    """Look at both units."""
    return [view_of(unit) for unit in (SOCKET, SERVICE)]


def view_of(unit: str) -> View:
    """Look at one unit."""
    load, active, enabled, result, stale, file = _show(unit, *_PROPERTIES)
    return View(unit, load, active, enabled, result, stale == "yes", file)


def default_places(env: Mapping[str, str] = os.environ) -> bool:
    """Whether nothing in the environment leads elsewhere than the unit's daemon goes."""
    return not any(env.get(name) for name in ("BROKER_CONFIG", "BROKER_STATE_DIR", "BROKER_SOCKET"))


def is_set_up(socket: Path, env: Mapping[str, str] = os.environ) -> bool:
    """Whether a reachable user manager knows the service, and its daemon would be the one on `socket`.

    The unit's daemon uses the default places (`%t/broker/broker.sock`): who set others means another daemon.
    """
    if not default_places(env) or socket != Path(_runtime_dir(env)) / "broker" / "broker.sock":
        return False
    return any(_property(unit, "LoadState") == "loaded" for unit in (SERVICE, SOCKET))


def is_active() -> bool:
    """Whether the service runs, or its socket waits to start it."""
    return any(_property(unit, "ActiveState") in _RUNS for unit in (SERVICE, SOCKET))


def start() -> None:
    """Start the socket (where there is one) and the service.

    Raises `Unreachable` with systemd's own words, `ConfigError` where the daemon refused its config.
    """
    _reopen()
    _act("start")


def stop() -> None:
    """Stop both: a socket left open would start the daemon again at the next ask."""
    _act("stop")


def restart() -> None:
    """Stop the service and start it anew; asks wait in the socket meanwhile. Raises as `start` does."""
    _forgive()
    _reopen()
    _begin("restart", SERVICE)


def reread_config() -> None:
    """Have the service read its config again, if it runs; a waiting socket starts it with the present one anyway."""
    _control("try-reload-or-restart", SERVICE, timeout_s=_ACT_S)


def require_manager(where: Path) -> None:
    """Raise `Unreachable`, with what to run, unless a user manager answers and reads units from the folder `where`."""
    if shutil.which("systemctl") is None or not _BOOTED.is_dir():
        raise Unreachable("this system does not run systemd; nothing to set up: the helper starts the daemon by itself")
    try:
        folders = _control("show", "--value", "-p", "UnitPath", timeout_s=_LOOK_S)
    except Unreachable as error:
        raise Unreachable(f"no systemd user manager answers; {_NO_MANAGER} ({error})") from error
    # In its list blanks within a path look like those between paths; and HOME may be a link here, but not there.
    if str(where) not in folders and where.resolve() not in {Path(folder).resolve() for folder in folders.split()}:
        raise Unreachable(
            f"your systemd user manager reads no units from {where}; run this as yourself, with HOME and XDG_CONFIG_HOME as at sign-in"
        )


def reload() -> None:
    """Have the manager read the unit files again."""
    _control("daemon-reload", timeout_s=_ACT_S)


def enable() -> None:
    """Have the socket listen, now and from every sign-in on."""
    _forgive()
    _control("enable", "--now", SOCKET, timeout_s=_ACT_S)


def disable(*units: str) -> None:
    """Stop these, and start them no more."""
    _control("disable", "--now", *units, timeout_s=_ACT_S)
    _forgive()


def renew(unit: str) -> None:
    """Restart what runs, as it is installed now; the socket takes the service with it."""
    _control("try-restart", unit, timeout_s=_ACT_S)


def lingers() -> bool | None:
    """Whether the user manager goes on after the last sign-out; None where nobody can tell."""
    try:
        done = subprocess.run(
            ["loginctl", "show-user", "--value", "-p", "Linger", str(os.geteuid())],
            capture_output=True,
            text=True,
            timeout=_LOOK_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {"yes": True, "no": False}.get(done.stdout.strip())


def _runtime_dir(env: Mapping[str, str]) -> str:
    """Name the folder where the user manager listens, also after su, or in cron, where no variable names it."""
    return env.get("XDG_RUNTIME_DIR") or str(_RUN_USER / str(os.geteuid()))


def _act(verb: str) -> None:
    units = [unit for unit in (SOCKET, SERVICE) if _property(unit, "LoadState") == "loaded"]
    if verb == "start":
        _forgive()
        _begin(verb, *units)
    else:
        _control(verb, *units, timeout_s=_ACT_S)
        _forgive()


def _reopen() -> None:
    """Have the socket made anew where its file is gone: systemd goes on listening on what nobody can reach."""
    socket = Path(_runtime_dir(os.environ)) / "broker" / "broker.sock"
    if not socket.exists() and _property(SOCKET, "ActiveState") == "active":
        _control("stop", SERVICE, timeout_s=_ACT_S)  # the socket of a service that runs cannot be opened
        _control("restart", SOCKET, timeout_s=_ACT_S)


def _begin(verb: str, *units: str) -> None:
    try:
        _control(verb, *units, timeout_s=_ACT_S)
    except Unreachable as error:
        if _property(SERVICE, "ExecMainStatus") == str(ConfigError.exit_code):
            raise ConfigError(["the daemon refused its config; see: broker config check"]) from error
        raise Unreachable(f"{error}; see: journalctl --user -u {SERVICE}") from error


def _forgive() -> None:
    """Forget failures: units that reached their start limit, as by a broken config, would refuse to start."""
    failed = [unit.name for unit in view() if unit.failed]
    if failed:
        _control("reset-failed", *failed, timeout_s=_LOOK_S)


def _control(*args: str, timeout_s: float) -> str:
    command = ["systemctl", "--user", "--no-ask-password", *args]
    try:
        done = subprocess.run(
            command,
            env=os.environ | {"XDG_RUNTIME_DIR": _runtime_dir(os.environ)},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unreachable(f"{' '.join(command)}: {error}") from error
    if done.returncode:
        said = done.stderr.strip().splitlines()
        reason = said[0] if said else f"exit code {done.returncode}"
        raise Unreachable(f"{' '.join(command)}: {reason}")
    return done.stdout


def _property(unit: str, name: str) -> str:
    (value,) = _show(unit, name)
    return value


def _show(unit: str, *names: str) -> list[str]:
    """Read properties; empty where no user manager answers."""
    said = ""
    if shutil.which("systemctl") is not None:
        with suppress(Unreachable):
            said = _control("show", "-p", ",".join(names), unit, timeout_s=_LOOK_S)
    found = {name: value for name, _, value in (line.partition("=") for line in said.splitlines())}
    return [found.get(name, "") for name in names]
