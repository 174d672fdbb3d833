"""What the command line's tests share: a shell to type in, a scripted daemon, and a place of one's own."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import broker
from broker.cli import main
from tests.fakes.control import Script, serving
from tests.fakes.handed_key import hand_key

CHECKOUT = Path(broker.__file__).parent.parent


@dataclass(frozen=True)
class Said:
    """What a command left behind."""

    code: int
    out: str
    err: str


Type = Callable[[str], Said]


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a place of its own for config, state and socket, with a path short enough for a socket."""
    place = Path(tempfile.mkdtemp(prefix="cli-"))
    monkeypatch.setenv("BROKER_CONFIG", str(place / "config.toml"))
    monkeypatch.setenv("BROKER_STATE_DIR", str(place / "state"))
    monkeypatch.setenv("BROKER_SOCKET", str(place / "run" / "broker.sock"))
    monkeypatch.setenv("BROKER_AUTOSTART", "0")
    monkeypatch.delenv("NO_COLOR", raising=False)
    yield place
    shutil.rmtree(place)


@pytest.fixture
def key(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the store a key."""
    for name, path in hand_key(folder).items():
        monkeypatch.setenv(name, path)


@pytest.fixture
def control(folder: Path) -> Iterator[Script]:
    """Serve a scripted daemon on the socket."""
    with serving(folder / "run" / "broker.sock", Script()) as script:
        yield script


@pytest.fixture
def type_(folder: Path, capsys: pytest.CaptureFixture[str]) -> Type:
    """Type a command as in a pipe: `type_("status --json")`."""

    def run(line: str) -> Said:
        capsys.readouterr()
        code = main(shlex.split(line))
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return run


@pytest.fixture
def spawn(folder: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start `broker LINE` as a process of its own."""

    def start(line: str, **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "broker.cli", *shlex.split(line)],
            env=os.environ | {"PYTHONPATH": str(CHECKOUT)} | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
        )

    return start
