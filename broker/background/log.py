"""The log of a daemon that runs apart from any terminal: `broker.log` in the state folder."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from broker import paths
from broker.errors import UnsafePath

LENGTH_MAX: Final = 1 << 20
_LAST_LINES: Final = 20
_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""Neither a link to another file of ours nor the wait for a FIFO's reader."""


def prepare() -> Path:
    """Make the log (0600), or check it; one that has grown too large becomes `broker.log.1`. Raises `UnsafePath`."""
    log = paths.private_folder(paths.state_dir()) / "broker.log"
    with suppress(FileNotFoundError):
        if log.lstat().st_size > LENGTH_MAX:
            log.replace(log.with_name("broker.log.1"))
    try:
        descriptor = os.open(log, _FLAGS, 0o600)
    except OSError as error:
        raise UnsafePath(f"log {log}: {error.strerror}; remove it, or set BROKER_STATE_DIR") from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise UnsafePath(f"log {log}: not a file of yours; remove it, or set BROKER_STATE_DIR")
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)
    return log


def said_since(log: Path, offset: int) -> list[str]:
    """Give the last lines that a daemon wrote after the first `offset` bytes."""
    with log.open("rb") as file:
        file.seek(offset)
        lines = file.read().decode("utf-8", "replace").splitlines()[-_LAST_LINES:]
    return [line.removeprefix("broker: ") for line in lines]
