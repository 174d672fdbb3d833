"""The systemd user service: is it set up for this socket, and start, stop and restart it.

Contract: systemctl(1). `broker setup systemd` installs the units.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from broker.errors import Unreachable

SERVICE: Final = "broker.service"
SOCKET: Final = "broker.socket"
_LOOK_S: Final = 5.0
_ACT_S: Final = 60.0
_RUNS: Final = ("active", "activating", "reloading", "deactivating")


def is_set_up(socket: Path, env: Mapping[str, str] = os.environ) -> bool:
    """Whether a reachable user manager knows the service, and its daemon would be the one on `socket`.

    The unit's daemon uses the default places (`%t/broker/broker.sock`): who set others means another daemon.
    """
    own_places = any(env.get(name) for name in ("BROKER_CONFIG", "BROKER_STATE_DIR", "BROKER_SOCKET"))
    runtime = env.get("XDG_RUNTIME_DIR", "")
    if own_places or not runtime or socket != Path(runtime) / "broker" / "broker.sock":
        return False
    return any(_property(unit, "LoadState") == "loaded" for unit in (SERVICE, SOCKET))


def is_active() -> bool:
    """Whether the service runs, or its socket waits to start it."""
    return any(_property(unit, "ActiveState") in _RUNS for unit in (SERVICE, SOCKET))


def start() -> None:
    """Start the socket (where there is one) and the service; raise `Unreachable` with systemd's own words."""
    _act("start")


def stop() -> None:
    """Stop both: a socket left open would start the daemon again at the next ask."""
    _act("stop")


def restart() -> None:
    """Stop the service and start it anew; asks wait in the socket meanwhile."""
    _control("restart", SERVICE, timeout_s=_ACT_S)


def _act(verb: str) -> None:
    units = [unit for unit in (SOCKET, SERVICE) if _property(unit, "LoadState") == "loaded"]
    _control(verb, *units, timeout_s=_ACT_S)


def _control(*args: str, timeout_s: float) -> str:
    command = ["systemctl", "--user", "--no-ask-password", *args]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unreachable(f"{' '.join(command)}: {error}") from error
    if done.returncode:
        said = done.stderr.strip().splitlines()
        reason = said[0] if said else f"exit code {done.returncode}"
        raise Unreachable(f"{' '.join(command)}: {reason}; see: journalctl --user -u {SERVICE}")
    return done.stdout


def _property(unit: str, name: str) -> str:
    """Read one property; empty where no user manager answers."""
    if shutil.which("systemctl") is None:
        return ""
    try:
        return _control("show", "--value", "-p", name, unit, timeout_s=_LOOK_S).strip()
    except Unreachable:
        return ""
