"""`broker status --watch`: follow what happens."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import CHECKOUT, Type
from tests.fakes.control import Script, credential_status, serving

pytestmark = pytest.mark.slow  # real processes that hang, drain or wait for a clock

Spawn = Callable[..., "subprocess.Popen[str]"]


def test_a_pipe_gets_one_line_per_change(spawn: Spawn, control: Script) -> None:
    """First how things are, then only what changes; Ctrl-C is the normal end."""
    with spawn("status --watch") as watching:
        assert watching.stdout is not None
        assert watching.stdout.readline().split(maxsplit=1)[1] == "work  fresh  fingerprint 0123456789ab\n"
        control.credentials = [credential_status("work", fingerprint="ba9876543210")]
        control.events.put(("refreshed", {"credential": "work"}))
        assert watching.stdout.readline().split(maxsplit=1)[1] == "work  fresh  fingerprint ba9876543210\n"
        watching.send_signal(signal.SIGINT)
        out, err = watching.communicate(timeout=60)
    assert (watching.returncode, out, err) == (0, "", "")


def test_json_gives_one_document_per_change(spawn: Spawn, control: Script) -> None:
    """Lines that a script can read one by one."""
    with spawn("status --watch --json") as watching:
        assert watching.stdout is not None
        assert json.loads(watching.stdout.readline())["credentials"][0]["state"] == "fresh"
        control.credentials = [credential_status("work", state="stale")]
        assert json.loads(watching.stdout.readline())["credentials"][0]["state"] == "stale"
        watching.send_signal(signal.SIGINT)
        watching.communicate(timeout=60)
    assert watching.returncode == 0


def test_a_reader_that_has_enough_is_no_error(spawn: Spawn, control: Script) -> None:
    """`broker status --watch | head -1` ends without a word."""
    with spawn("status --watch") as watching:
        assert watching.stdout is not None
        assert watching.stderr is not None
        watching.stdout.readline()
        watching.stdout.close()
        control.credentials = [credential_status("work", state="stale")]
        assert watching.wait(timeout=60) == 1
        assert watching.stderr.read() == ""


def until(terminal: int, wanted: str) -> str:
    """Read what is drawn on a terminal until `wanted` is there."""
    drawn = b""
    while wanted.encode() not in drawn:
        assert select.select([terminal], [], [], 60)[0], f"no {wanted} in {drawn!r}"
        drawn += os.read(terminal, 4096)
    return drawn.decode()


def test_a_terminal_is_drawn_anew_as_things_change(folder: Path) -> None:
    """At once on an event; a daemon that is away is waited for; Ctrl-C leaves the last table and a visible cursor."""
    master, slave = os.openpty()
    env = os.environ | {"TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8", "COLUMNS": "100", "LINES": "30"}
    with serving(folder / "run" / "broker.sock", Script()) as control:
        command = [sys.executable, "-m", "broker.cli", "status", "--watch"]
        watching = subprocess.Popen(command, stdout=slave, stdin=subprocess.DEVNULL, cwd=CHECKOUT, env=env)
        os.close(slave)
        assert "▕███████   ▏ 42m" in until(master, "42m")
        control.credentials = [credential_status("work", state="stale")]
        control.events.put(("failed", {"credential": "work"}))
        until(master, "◐ stale")
    until(master, "no daemon answers")
    with serving(folder / "run" / "broker.sock", Script()):
        until(master, "● fresh")
        watching.send_signal(signal.SIGINT)
        assert until(master, "\x1b[?25h")
        assert watching.wait(timeout=60) == 0
    os.close(master)


@pytest.mark.parametrize("line", ["status --watch --check", "status --watch nope"])
def test_what_cannot_be_watched_is_said_at_once(type_: Type, control: Script, line: str) -> None:
    """No watch begins that could never show anything."""
    said = type_(line)
    assert said.code in (64, 78)
    assert said.out == ""
    assert said.err.count("\n") == 1
