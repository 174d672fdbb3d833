"""A daemon of ours beside `elhaz` (PyPI), both set up for the same role of the same moto: keys handed out warm, memory."""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests import setup_tools
from tests.bench.figure import Figure, show
from tests.bench.measure import Command, warm_seconds
from tests.bench.memory import Resident
from tests.bench.place import MissingProgram, daemon_process
from tests.real.installed import HELPER, Place
from tests.real.moto import KEY_ID, PROGRAM, REGION, SECRET_KEY, Moto, moto_server
from tests.real.process import terminate, wait_until

ROLE: Final = "arn:aws:iam::222222222222:role/claude"
ROUNDS: Final = 3
ASKS: Final = 300
_OURS: Final = f"""
[sources.role]
type = "aws"
access_key_id = "{KEY_ID}"
secret_access_key = {{ env = "FAKE_SECRET_KEY" }}
region = "{REGION}"
endpoint_url = "ADDRESS"
role_arn = "{ROLE}"
[credentials.role]
source = "role"
"""
_THEIRS: Final = f"""
AssumeRole:
  RoleArn: {ROLE}
  RoleSessionName: elhaz
STS:
  region_name: {REGION}
  endpoint_url: ADDRESS
Session:
  aws_access_key_id: {KEY_ID}
  aws_secret_access_key: {SECRET_KEY}
  region_name: {REGION}
"""


def figures() -> list[Figure]:
    """Run both."""
    if not PROGRAM.exists():
        raise MissingProgram(f"{PROGRAM} is missing: install the `test` extra")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="bench-", dir="/tmp")))
        moto = stack.enter_context(moto_server())
        daemon = stack.enter_context(daemon_process(_OURS.replace("ADDRESS", moto.address), _env()))
        their_process, theirs = stack.enter_context(_elhaz(folder, moto))
        place = daemon.place
        socket_ = folder / "sock"
        commands = warm_seconds(ROUNDS, ours=_helper(place), theirs=theirs)
        asks = {"ours": _median(lambda: _ask_ours(place)), "theirs": _median(lambda: _ask_theirs(socket_))}
        memory = Resident.of(daemon.process.pid).whole, Resident.of(their_process.pid).whole
    return [
        _compared("credential_process, of elhaz export's", commands["ours"], commands["theirs"], "ms", 1000),
        _compared("keys on the socket, of elhaz's", asks["ours"], asks["theirs"], "ms", 1000, limit=None),
        _compared("resident with one role, of elhaz's", *memory, "MB"),
    ]


def _compared(
    what: str, ours: float, theirs: float, unit: str, factor: float = 1.0, *, limit: float | None = 1.0
) -> Figure:
    return Figure(what, ours / theirs, limit, detail=f"{ours * factor:.2f} and {theirs * factor:.2f} {unit}")


def _env() -> dict[str, str]:
    return {"FAKE_SECRET_KEY": SECRET_KEY, "AWS_EC2_METADATA_DISABLED": "true"}


def _helper(place: Place) -> Command:
    """Print keys as a profile's `credential_process` does, once they are there."""
    done = place.ask("--aws", "role")
    if done.returncode != 0:
        raise MissingProgram(f"{HELPER} gives no keys: {done.stderr.strip()}")
    return Command([str(HELPER), "--aws", "role"], place.env)


@contextmanager
def _elhaz(folder: Path, moto: Moto) -> Iterator[tuple[subprocess.Popen[str], Command]]:
    """Run its daemon until the block ends; give it, and the command that prints keys."""
    program = setup_tools.installed("elhaz", "elhaz>=0.5")
    env = {"HOME": str(folder), "PATH": "/usr/bin:/bin"}
    configs = folder / ".elhaz" / "configs"  # its daemon looks nowhere else, whatever --config-dir says
    configs.mkdir(parents=True)
    (configs / "role.yaml").write_text(_THEIRS.replace("ADDRESS", moto.address))
    options = ["--socket-path", str(folder / "sock"), "--logging-path", str(folder / "log")]
    process = subprocess.Popen(
        [str(program), *options, "daemon", "_serve"],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        wait_until(lambda: _listens(folder / "sock"), "elhaz listens")
        subprocess.run(
            [str(program), *options, "daemon", "add", "-n", "role"], env=env, check=True, capture_output=True
        )
        yield process, Command([str(program), *options, "export", "-n", "role", "-f", "credential-process"], env)
    finally:
        terminate(process)


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as asking:
        return path.exists() and asking.connect_ex(os.fspath(path)) == 0


def _median(ask: Callable[[], dict[str, object]]) -> float:
    taken = []
    for _ in range(ASKS):
        began = time.perf_counter()
        answer = ask()
        taken.append(time.perf_counter() - began)
        assert "ASIA" in str(answer), answer
    return statistics.median(taken)


def _ask_ours(place: Place) -> dict[str, object]:
    found: dict[str, object] = json.loads(place.call("GET", "/v1/credentials/role")[1])
    return found


def _ask_theirs(path: Path) -> dict[str, object]:
    request = {"version": 1, "request_id": str(uuid.uuid4()), "action": "credentials", "payload": {"config": "role"}}
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(os.fspath(path))
        asking.sendall(json.dumps(request).encode() + b"\n")
        with asking.makefile("rb") as lines:
            found: dict[str, object] = json.loads(lines.readline())
            return found


if __name__ == "__main__":
    sys.exit(show(figures()))
