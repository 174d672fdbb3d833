"""The locks of a daemon on its socket and its state folder, and who holds them.

A lock is flock(2) on a file: the kernel lets go of it when the process ends, however it ends. The file says which
process that is: `PID`, or `PID stopping` while it drains.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.errors import AlreadyRunning
from broker.paths import private_folder

SOCKET: Final = "socket.lock"
STATE: Final = "state.lock"
_CONTENT_MAX: Final = 64
_DIGITS_MAX: Final = 9


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds a lock. `pid` is 0 where it does not say; `stopping`: it drains, and answers nobody new."""

    pid: int
    stopping: bool


def take(folder: Path, name: str) -> int:
    """Take the lock `name` in `folder` (0700, made where missing) for as long as this process lives.

    Two daemons must never share a socket or a state folder: asyncio silently replaces a live socket file.
    Returns the descriptor. Raises `AlreadyRunning`, `UnsafePath`.
    """
    path = private_folder(folder) / name
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise AlreadyRunning(f"{path}: another broker is running; see: broker status, or: broker restart") from error
    _write(descriptor, str(os.getpid()))
    return descriptor


def say_stopping(descriptor: int) -> None:
    """Let others know that the holder drains: it is silent, but does not hang."""
    _write(descriptor, f"{os.getpid()} stopping")


def holder(path: Path) -> Holder | None:
    """Tell who holds the lock at `path`; None when it is free. Holds it for an instant itself."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        pid, _, rest = os.read(descriptor, _CONTENT_MAX).decode("ascii", "replace").strip().partition(" ")
        return Holder(int(pid) if pid.isdecimal() and len(pid) <= _DIGITS_MAX else 0, stopping=rest == "stopping")
    else:
        return None
    finally:
        os.close(descriptor)


def _write(descriptor: int, text: str) -> None:
    with suppress(OSError):  # a full disk: a lock that does not name its holder is still one
        os.ftruncate(descriptor, os.pwrite(descriptor, f"{text}\n".encode(), 0))
