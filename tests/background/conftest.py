"""What these tests share: the command line's shell and places, and a config to start a real daemon with."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from broker import background
from broker.client import Client
from broker.errors import BrokerError
from tests.cli.conftest import control, folder, spawn, type_

__all__ = ["control", "folder", "spawn", "type_"]

CONFIG = '[credentials.work]\nsource = "demo"\nlifetime = "1h"\n'


@pytest.fixture
def config(folder: Path) -> Iterator[Path]:
    """Write a config; at the end, stop whatever was started with it."""
    file = folder / "config.toml"
    file.write_text(CONFIG)
    file.chmod(0o600)
    yield file
    with suppress(BrokerError):
        background.stop(Client(folder / "run" / "broker.sock"))


def pid(said: str) -> int:
    """Read the daemon's pid from what a command said."""
    found = re.search(r"pid (\d+)", said)
    assert found, said
    return int(found[1])


def is_gone(process: int) -> bool:
    """Whether no such process runs."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
