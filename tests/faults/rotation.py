"""Twenty processes around one refresh token that is good once, and a daemon that is killed at random.

`python -m tests.faults.rotation [ROTATIONS [PROCESSES]]`; with `--couriers`, whatever asks the provider is killed too,
as by a power cut or a service manager that ends all of a unit: no protocol survives that where a used token ends the
sign-in, and the table says how often that was.

The provider (npm's oidc-provider) is strict: who shows a used refresh token has the whole sign-in revoked. Its answers
come up to `LATE_MS` after it has spent what it was shown, so that kills find that moment.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from broker import locks
from broker.sources.oauth import courier
from tests.fakes.handed_key import hand_key
from tests.real.installed import BIN, BROKER, Place, a_place
from tests.real.process import DEADLINE_S, terminate, wait_until
from tests.real.provider import Provider, provider

LATE_MS: Final = 400
ROTATIONS_A_LIFE: Final = 4
"""A daemon is killed after fewer than that."""
LAST_MOMENT_S: Final = 1.0
"""And then within that: some die before they serve, most in the middle of a refresh."""
PATIENCE_S: Final = 10.0
TOOK_IN: Final = "took in a refresh that was under way"
_ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(slots=True)
class Told:
    """What came of it."""

    rotations: int = 0
    kills: int = 0
    in_flight: int = 0
    reuses: int = 0
    lost: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.rotations} rotations, {self.kills} daemons killed, {self.in_flight} of them in the middle of a refresh"
            f" that the next one took in; used twice {self.reuses} times, lost {self.lost} times; {self.seconds:.0f} s"
        )


def run(
    rotations: int, processes: int, *, couriers: bool = False, late_ms: int = LATE_MS, a_life: int = ROTATIONS_A_LIFE
) -> Told:
    """Rotate so often, and tell."""
    told, began, chance = Told(), time.monotonic(), random.Random(7)
    with ExitStack() as stack:
        idp = stack.enter_context(provider())
        place = stack.enter_context(a_place())
        settle(place, idp)
        stack.callback(end, place)
        start(place)
        sign_in(place, idp)
        idp.told(delay_ms=late_ms)
        crowd = stack.enter_context(workers(place, processes))
        while idp.told()["rotations"] < rotations:
            if not killed(place, idp, chance.randrange(a_life), chance, couriers=couriers):
                continue
            told.kills += 1
            if crowd.lost.is_set():
                if not couriers:
                    told.lost += 1
                    break
                again(place, idp)
                crowd.lost.clear()
        told.rotations, told.reuses = idp.told()["rotations"], idp.told()["reuses"]
        # With the courier dead too, what is lost is told by the provider: each loss is a used token that was shown again.
        told.lost += told.reuses if couriers else not good_in_the_end(place, idp)
        told.in_flight = (place.folder / "daemons.log").read_text().count(TOOK_IN)
    told.seconds = time.monotonic() - began
    return told


def settle(place: Place, idp: Provider) -> None:
    """Write the config, and hand over a key."""
    place.configure(f"""
[sources.gateway]
type = "oauth"
flow = "device"
issuer = "{idp.issuer}"
client_id = "person"

[credentials.work]
source = "gateway"
scope = "openid models.read"
refresh_interval_min = "1ms"
""")
    hand_key(place.folder)


def start(place: Place) -> None:
    """Have a daemon run."""
    from tests.faults.rotation_worker import start as start_one  # noqa: PLC0415  # it is a program of its own

    threading.Thread(target=start_one(place).wait, daemon=True).start()
    wait_until(place.is_serving, "the daemon serves")


def sign_in(place: Place, idp: Provider) -> None:
    """Do what the person does."""
    env = {**place.env, "HOME": str(place.folder), "PATH": f"{BIN}:/usr/bin:/bin"}
    with subprocess.Popen([str(BROKER), "login", "gateway"], env=env, stderr=subprocess.PIPE, text=True) as login:
        assert login.stderr is not None
        shown = ""
        while "Waiting" not in shown:
            line = login.stderr.readline()
            assert line, f"broker login: {shown}"
            shown += line
        found = re.search(r"https?://\S+", shown)
        assert found is not None
        idp.confirm(found[0])
        assert login.wait(DEADLINE_S) == 0, login.stderr.read()


def again(place: Place, idp: Provider) -> None:
    """Sign in once more, after the sign-in was lost."""
    idp.told(delay_ms=0)
    if not place.is_serving():
        start(place)
    sign_in(place, idp)
    idp.told(delay_ms=LATE_MS)


def killed(place: Place, idp: Provider, after: int, chance: random.Random, *, couriers: bool) -> bool:
    """Kill the daemon at a random moment `after` so many rotations; return whether there was one."""
    if not soon(lambda: daemon_of(place) is not None):
        return False
    enough = idp.told()["rotations"] + after
    soon(lambda: idp.told()["rotations"] >= enough)
    threading.Event().wait(chance.uniform(0, LAST_MOMENT_S))
    pid = daemon_of(place)
    if pid is None:
        return False
    found = couriers_of(pid) if couriers else []
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    for each in found:
        with suppress(psutil.Error):
            each.kill()
    return True


def couriers_of(pid: int) -> list[psutil.Process]:
    """Find who asks the provider for this daemon."""
    with suppress(psutil.Error):
        return [child for child in psutil.Process(pid).children() if courier.__name__ in child.cmdline()]
    return []


def daemon_of(place: Place) -> int | None:
    """Tell the pid of the daemon that holds this place, which a process of ours started."""
    found = locks.holder(place.folder / "state" / locks.STATE)
    return found.pid if found is not None and found.pid else None


def soon(holds: Callable[[], bool]) -> bool:
    """Wait for it a while; return whether it came."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def good_in_the_end(place: Place, idp: Provider) -> bool:
    """Whether the sign-in still gives tokens that the provider takes."""
    idp.told(delay_ms=0)
    if not place.is_serving():
        start(place)
    status, body = place.call("POST", "/v1/refresh", {"credential": "work"})
    asked = place.ask("work")
    return status == 200 and json.loads(body)["state"] == "fresh" and idp.accepts(asked.stdout.strip())


def end(place: Place) -> None:
    """Leave no daemon behind."""
    # One that was being started when the crowd ended may still come.
    for _ in range(2):
        pid = daemon_of(place)
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            wait_until(lambda: daemon_of(place) is None, "the daemon is gone")
        threading.Event().wait(1.0)


class Crowd:
    """The processes, and what they say."""

    def __init__(self, processes: list[subprocess.Popen[str]]) -> None:
        self.processes = processes
        self.lost = threading.Event()
        self.listeners = [threading.Thread(target=self._listen, args=(process,), daemon=True) for process in processes]
        for listener in self.listeners:
            listener.start()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("lost"):
                if not self.lost.is_set():
                    print(line.strip(), file=sys.stderr)
                self.lost.set()


@contextmanager
def workers(place: Place, number: int) -> Iterator[Crowd]:
    """Run so many processes until the block ends."""
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.faults.rotation_worker", str(place.folder), str(each)],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for each in range(number)
    ]
    crowd = Crowd(started)
    try:
        yield crowd
    finally:
        for process in started:
            terminate(process)
        for listener in crowd.listeners:
            listener.join()
        for process in started:
            process.communicate()


def main() -> int:
    """Print what came of it; exit 1 where the sign-in was lost, or a token used twice, though only daemons were killed."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.rotation")
    parser.add_argument("rotations", nargs="?", type=int, default=1000)
    parser.add_argument("processes", nargs="?", type=int, default=20)
    parser.add_argument("--couriers", action="store_true", help="kill whatever asks the provider too")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # leave nothing behind
    told = run(asked.rotations, asked.processes, couriers=asked.couriers)
    print(told)
    return int(not asked.couriers and (told.lost > 0 or told.reuses > 0))


if __name__ == "__main__":
    sys.exit(main())
