"""One of many processes around a sign-in: asks, has it refreshed, and starts a daemon where there is none.

Run with a place's folder and a seed; ends when its stdin does. Says `lost REASON` as soon as a person would have to
sign in again.
"""

from __future__ import annotations

import os
import random
import select
import subprocess
import sys
from pathlib import Path

from broker.client import Client
from broker.errors import BrokerError, NeedsLogin, Unreachable
from tests.fakes.handed_key import hand_key
from tests.real.installed import BIN, BROKER, Place
from tests.real.process import coverage_env

NAME = "work"
PAUSE_S = 0.25
"""Between two asks of one process, on average."""


def main() -> None:
    """Go on until nobody wants it any more."""
    place, chance = Place(Path(sys.argv[1])), random.Random(sys.argv[2])
    os.environ.update(place.env)
    client = Client(place.socket)
    daemons: list[subprocess.Popen[bytes]] = []
    while not select.select([sys.stdin], [], [], chance.uniform(0, 2 * PAUSE_S))[0]:
        daemons = [daemon for daemon in daemons if daemon.poll() is None]
        try:
            act(place, client, chance)
        except NeedsLogin as error:
            print(f"lost {error}", flush=True)
        except Unreachable:
            # Several find out at the same time: the lock lets one of theirs live.
            if not daemons and chance.random() < 0.05:
                daemons.append(start(place))
        except BrokerError as error:
            print(f"other {error}", flush=True)


def act(place: Place, client: Client, chance: random.Random) -> None:
    """Do what any of a person's programs might do."""
    match chance.random():
        case draw if draw < 0.002:
            start(place).wait()  # refused by the lock, as one runs
        case draw if draw < 0.03:
            place.ask(NAME)
        case draw if draw < 0.4:
            client.token(NAME, deadline_s=5.0)
        case _:
            told = client.refresh(NAME, deadline_s=20.0)
            if told["state"] == "needs-login" or "broker login" in str(told["last_error"]):
                raise NeedsLogin(str(told["last_error"]))


def start(place: Place) -> subprocess.Popen[bytes]:
    """Start a daemon; it leaves by itself where another one runs."""
    env = {"HOME": str(place.folder), "PATH": f"{BIN}:/usr/bin:/bin", **place.env, **coverage_env()}
    env |= hand_key(place.folder)
    with (place.folder / "daemons.log").open("ab") as log:
        return subprocess.Popen(
            [str(BROKER), "run"],
            env=env,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


if __name__ == "__main__":
    main()
