"""What the daemon keeps resident, idle and after 100,000 asks, with a command and with a real keyring as source."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.figure import Figure, show
from tests.bench.load import Load, Target, load_client
from tests.bench.place import daemon_process, program
from tests.real.installed import a_place
from tests.real.secret_service import PROGRAMS, secret_service

FIRST: Final = 10_000
IN_ALL: Final = 100_000
_TOKEN: Final = "fake-token-1"
_COMMAND: Final = f"""
[credentials.work]
source = "command"
argv = ["/bin/echo", "{_TOKEN}"]
"""
_KEYRING: Final = """
[credentials.work]
source = "keyring"
service = "anthropic"
username = "me"
"""


@dataclass(frozen=True, slots=True)
class Resident:
    """Resident memory in MB (10^6 bytes would flatter: these are 1024 x 1024); `shared_out` counts shared pages by share."""

    whole: float
    shared_out: float

    @classmethod
    def of(cls, pid: int) -> Resident:
        """Read VmRSS and, where we may, Pss (proc_pid_smaps(5)); the daemon lets nobody but root see the latter."""
        try:
            shared_out = _field(pid, "smaps_rollup", "Pss:")
        except PermissionError:
            shared_out = float("nan")
        return cls(_field(pid, "status", "VmRSS:"), shared_out)


def figures() -> list[Figure]:
    """Measure both daemons, one after the other."""
    for needed in PROGRAMS:
        program(needed)
    with load_client() as load, a_place() as desk, secret_service(desk.folder) as keyring:
        keyring.store("anthropic", "me", _TOKEN)
        return [
            *_measure(load, "command", 45, _COMMAND),
            *_measure(load, "command, key at rest", 45, _COMMAND, keyring.env),
            *_measure(load, "keyring", 55, _KEYRING, keyring.env),
        ]


def _measure(load: Load, source: str, limit: float, toml: str, env: Mapping[str, str] | None = None) -> list[Figure]:
    with daemon_process(toml, env) as started:
        target = Target(started.place.socket, ["/v1/token"], _TOKEN)
        pid = started.process.pid
        load.seconds(target, 1)
        idle = Resident.of(pid)
        load.seconds(target, FIRST)
        warm = Resident.of(pid)
        load.seconds(target, IN_ALL - FIRST)
        late = Resident.of(pid)
    return [
        Figure(f"resident, {source}, after the first ask", idle.whole, limit, "MB", detail=_shared_out(idle)),
        Figure(f"resident, {source}, after {IN_ALL:,} asks", late.whole, limit, "MB", detail=_shared_out(late)),
        Figure(f"growth, {source}, from {FIRST:,} asks on", late.whole - warm.whole, 2, "MB"),
    ]


def _field(pid: int, file: str, name: str) -> float:
    lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(name)) / 1024  # given in KiB


def _shared_out(resident: Resident) -> str:
    return f"{resident.shared_out:.1f} MB with shared pages by share"


if __name__ == "__main__":
    sys.exit(show(figures()))
