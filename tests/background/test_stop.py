"""The end of a daemon, wherever it was started."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from broker import background
from broker.background import stopping
from broker.client import Client
from broker.errors import BrokerError
from tests.background.conftest import pid
from tests.cli.conftest import Type
from tests.fakes.control import Script


def test_stop_signals_nobody_but_the_process_that_serves(type_: Type, control: Script) -> None:
    """Behind systemd's socket the listener is systemd itself: never end that one."""
    control.daemon["pid"] = 1
    said = type_("stop")
    assert said.code == 69
    assert f"process {os.getpid()} holds" in said.err


def test_stop_says_when_the_daemon_does_not_go(
    type_: Type, config: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It never claims what is not so."""
    daemon = pid(type_("start").out)
    monkeypatch.setattr(stopping, "STOPPED_WITHIN_S", 0.1)
    os.kill(daemon, signal.SIGSTOP)
    try:
        client = Client(folder / "run" / "broker.sock")
        monkeypatch.setattr("broker.client.Session.read", lambda *_: b'{"daemon": {"pid": %d}}' % daemon)
        monkeypatch.setattr("broker.client.Session.ask", lambda *_: None)
        with pytest.raises(BrokerError, match="still runs"):
            background.stop(client)
    finally:
        monkeypatch.undo()
        os.kill(daemon, signal.SIGCONT)
        os.kill(daemon, signal.SIGKILL)
