"""A daemon as a process of its own: its command line, its environment, and its independence of who started it."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import broker
from broker import paths

_NOT_HANDED_ON: Final = ("LD_", "DYLD_", "PYTHON", "LISTEN_", "NOTIFY_SOCKET", "WATCHDOG_", "CLAUDECODE")


def command() -> list[str]:
    """Give the command line of `broker run`, by absolute path; `-P`: no folder of the caller's is searched."""
    return [sys.executable, "-P", "-m", "broker.cli", "run"]


def environment(env: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Give the daemon's environment: the caller's (`env` sources read it) without what steers loaders and services.

    A relative BROKER_CONFIG is made absolute, since the daemon runs in `/`. A checkout that is not installed is put
    on the daemon's search path.
    """
    kept = {name: value for name, value in env.items() if not name.startswith(_NOT_HANDED_ON)}
    if kept.get("BROKER_CONFIG"):
        kept["BROKER_CONFIG"] = str(paths.config_path(kept))
    home = str(Path(broker.__file__).parent.parent)
    installed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    return kept if home in installed else kept | {"PYTHONPATH": home}


def spawn(log: Path, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Run a daemon apart from this terminal and folder; what it says goes to the end of `log`."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        return subprocess.Popen(
            command(),
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            cwd="/",
            env=dict(env),
            start_new_session=True,
            umask=0o077,
        )
    finally:
        os.close(descriptor)
