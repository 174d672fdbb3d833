"""Nobody looks into the running daemon: not even other programs of the same user."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.hygiene import prober
from tests.real.installed import BROKER, Place, a_place
from tests.real.process import DEADLINE_S
from tests.real.systemd_user import _AS_USER, _CHECKOUT, UID, _open_up

pytestmark = [pytest.mark.slow, pytest.mark.real]

CONFIG = '[credentials.work]\nsource = "command"\nargv = ["/bin/echo", "fake-token-1"]\n'


@pytest.fixture(scope="module")
def tried(need: Callable[[bool, str], None]) -> dict[str, Any]:
    """Let an ordinary user start a daemon with a token in its memory, and try every way to look into it."""
    absent = [name for name in ("unshare", "setpriv") if shutil.which(name) is None]
    need(os.geteuid() != 0 or not absent, f"to be an ordinary user: {absent} missing")
    with a_place() as place:
        place.configure(CONFIG)
        found: dict[str, Any] = json.loads(as_ordinary_user(place, sys.executable, prober.__file__, str(BROKER)))
    return found


def as_ordinary_user(place: Place, *command: str) -> str:
    """Run a command as somebody who is not root, since nothing is closed to root; return what it printed."""
    env = {"HOME": str(place.folder), "PATH": "/usr/bin:/bin"} | place.env
    if os.geteuid() == 0:
        for path in [place.folder, *place.folder.rglob("*")]:
            os.chown(path, UID, UID)
        command = ("unshare", "--mount", "sh", "-euc", _as_user(command))
    done = subprocess.run(
        command, env=env, cwd="/", capture_output=True, text=True, timeout=2 * DEADLINE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _as_user(command: tuple[str, ...]) -> str:
    """Make Python and the checkout reachable for the user, in a namespace of its own, and become that user."""
    opened = _open_up(sys.base_prefix, sys.prefix, str(_CHECKOUT))
    return f"{opened}\nexec {shlex.join([*_AS_USER, *command])}"


def test_the_daemon_had_a_token_to_find(tried: dict[str, Any]) -> None:
    """It was served to the same user before anything was tried."""
    assert tried["token"] == "fake-token-1"


@pytest.mark.parametrize("way", list(prober.WAYS))
def test_no_way_into_the_daemon_is_open(tried: dict[str, Any], way: str) -> None:
    """A debugger, a memory reader, a thief of descriptors: all of them may look into an ordinary process of the user's."""
    assert tried["other"][way] == "open"
    assert tried["daemon"][way] == "PermissionError"
