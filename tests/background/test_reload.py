"""A running daemon is told of a new config, whoever started it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from broker import background
from broker.background import finding
from broker.cli.demo.stage import wait_until
from broker.client import Client
from broker.errors import Unreachable
from tests.background.conftest import pid
from tests.cli.conftest import Type
from tests.real.process import pause

pytestmark = pytest.mark.slow  # real daemons


def test_the_daemon_reads_its_config_again(type_: Type, config: Path, folder: Path) -> None:
    """Nothing else of it changes; where none runs there is nobody to tell."""
    client = Client(folder / "run" / "broker.sock")
    assert background.reload(client) is False
    daemon = pid(type_("start").out)
    config.write_text(config.read_text() + '[credentials.second]\nsource = "demo"\n')
    assert background.reload(client) is True
    assert wait_until(lambda: len(client.status()["credentials"]) == 2, 10)
    assert client.status()["daemon"]["pid"] == daemon


def test_a_daemon_that_hangs_is_not_signalled(
    type_: Type, config: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could not obey; the line says what mends it."""
    monkeypatch.setattr(finding, "ANSWERS_WITHIN_S", 0.2)
    daemon = pid(type_("start").out)
    pause(daemon)
    try:
        with pytest.raises(Unreachable, match=rf"pid {daemon}\) does not answer; run: broker restart"):
            background.reload(Client(folder / "run" / "broker.sock"))
    finally:
        os.kill(daemon, signal.SIGCONT)
