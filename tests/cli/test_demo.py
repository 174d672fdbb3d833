"""`broker demo`: the tour, for real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.cli.demo import stage
from broker.errors import UnsafePath
from broker.integrations import installed_helper
from tests.cli.conftest import Type

pytestmark = pytest.mark.slow  # real processes that hang, drain or wait for a clock

Spawn = Callable[..., subprocess.Popen[str]]
Need = Callable[[bool, str], None]


@pytest.fixture
def temporary(tmp_path: Path, need: Need) -> Path:
    """Give the folder that the demo's own is made in; the helper has to be installed."""
    need(installed_helper.path().exists(), "broker-helper is not installed")
    return Path(tempfile.mkdtemp(prefix="d-", dir=tmp_path.parent))


@pytest.mark.alone
def test_every_step_holds_and_nothing_is_left(spawn: Spawn, temporary: Path) -> None:
    """Under 30 s, with no colour in a pipe, and no token shown."""
    began = time.monotonic()
    with spawn("demo", TMPDIR=str(temporary)) as demo:
        out, err = demo.communicate(timeout=60)
    assert (demo.returncode, err) == (0, ""), out
    assert time.monotonic() - began < 30
    assert out.count("✓") == 6
    assert "\x1b" not in out
    assert "demo-" not in out.replace("broker-demo-", "").replace("the demo", "")
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_leaving_early_leaves_nothing(spawn: Spawn, temporary: Path, number: int, code: int) -> None:
    """Neither a folder nor a daemon, at whatever moment."""
    with spawn("demo", TMPDIR=str(temporary)) as demo:
        assert demo.stdout is not None
        demo.stdout.readline()
        (folder,) = temporary.iterdir()
        daemon = _daemon_of(folder)
        demo.send_signal(number)
        demo.communicate(timeout=30)
    assert demo.returncode == code
    assert list(temporary.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.kill(daemon, 0)


def test_a_missing_helper_is_said(type_: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is started."""
    monkeypatch.setattr(installed_helper, "path", lambda: tmp_path / "broker-helper")
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "broker")])
    with pytest.raises(UnsafePath, match="not installed"):
        stage.find_helper()
    said = type_("demo")
    assert (said.code, said.out) == (77, "")


def _daemon_of(folder: Path) -> int:
    from broker.client import Client  # noqa: PLC0415

    return int(Client(folder / "run" / "broker.sock").status()["daemon"]["pid"])
