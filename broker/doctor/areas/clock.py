"""Whether the machine's clock can be right; without a network only what contradicts itself shows."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import broker
from broker.doctor.finding import Finding, error, fine, notice, warning
from broker.doctor.scene import Scene

_YEAR_S: Final = 365.25 * 86_400
_EARLIEST: Final = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
"""Before this version was written."""

_LATEST: Final = _EARLIEST + 50 * _YEAR_S
_AHEAD_S: Final = 300.0
_JUMP_S: Final = 60.0
_TIMEDATECTL: Final = ("/usr/bin/timedatectl", "/bin/timedatectl", "/run/current-system/sw/bin/timedatectl")
_LOOK_S: Final = 3.0
_MEND: Final = "set the clock, and keep it so: sudo timedatectl set-ntp true"
_WHY: Final = "tokens would be taken for expired, or for valid long after they died, and sources refuse what they sign"


def check(scene: Scene) -> list[Finding]:
    """Look for contradictions."""
    found = [*_absurd(scene.now), *_future_files(scene), *_jumps(scene), *_unsynchronised()]
    return found or [fine("clock", datetime.fromtimestamp(scene.now, UTC).strftime("%Y-%m-%d %H:%M UTC"))]


def _absurd(now: float) -> Iterator[Finding]:
    if not _EARLIEST <= now <= _LATEST:
        yield error("clock-wrong", f"the clock says {_said(now)}", _WHY, _MEND)


def _future_files(scene: Scene) -> Iterator[Finding]:
    """A file cannot have been written later than now."""
    known = [scene.places.config, scene.places.state, Path(broker.__file__)]
    with suppress(OSError):
        known += scene.places.state.iterdir()
    for path in known:
        with suppress(OSError):
            written = path.lstat().st_mtime
            if written > scene.now + _AHEAD_S:
                what = f"{path} was written at {_said(written)}, but the clock says {_said(scene.now)}"
                yield warning("clock-behind", what, _WHY, _MEND)
                return


def _jumps(scene: Scene) -> Iterator[Finding]:
    """The daemon counts a token's life on a clock that cannot be set; the time of day should come to the same."""
    for entry in scene.status["credentials"] if scene.status is not None else ():
        with suppress(KeyError, TypeError, ValueError):
            by_wall_s = datetime.fromisoformat(entry["expires_at"]).timestamp() - scene.now
            if entry["state"] in {"fresh", "stale"} and by_wall_s - entry["expires_in_s"] > _JUMP_S:
                what = f"since {entry['name']} was fetched the clock was set back {by_wall_s - entry['expires_in_s']:.0f} s"
                yield warning("clock-jumped", what, _WHY, _MEND)
                return


def _unsynchronised() -> Iterator[Finding]:
    program = next((path for path in _TIMEDATECTL if os.access(path, os.X_OK)), None)
    if program is None:
        return
    with suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(
            [program, "show", "--property=NTPSynchronized", "--value"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_LOOK_S,
            check=False,
        )
        if done.stdout.strip() == "no":
            yield notice("clock-unsynchronised", "no time server keeps the clock right", _WHY, _MEND)


def _said(moment: float) -> str:
    try:
        return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, ValueError, OSError):
        return "a time that no calendar has"
