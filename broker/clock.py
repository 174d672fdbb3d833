"""Time, read in one place so that tests can set it."""

from __future__ import annotations

import ctypes
import sys
import time
import uuid
from pathlib import Path
from typing import Final, NamedTuple, Protocol

# Linux's CLOCK_MONOTONIC stops in suspend; CLOCK_BOOTTIME does not. macOS's CLOCK_MONOTONIC counts suspend.
_SUSPEND_AWARE = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Now(NamedTuple):  # not a dataclass: one is made several times an ask, and takes a third of the time
    """One moment on two clocks, both in seconds.

    `wall` is the time of day as epoch seconds: expiries are written in it, and it can jump. `mono` never goes
    back and counts time asleep; only differences of it mean anything.
    """

    wall: float
    mono: float


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> Now:
        """Read both clocks."""


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> Now:
        """Read both clocks."""
        return Now(time.time(), time.clock_gettime(_SUSPEND_AWARE))


_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")  # random(4)
_BOOT_SESSION: Final = b"kern.bootsessionuuid"  # sysctl(3) of macOS


def boot_id() -> str:
    """Name this boot of the machine: `mono` moments of two processes compare only within one.

    Where the system has no name for it, one that no other process shares.
    """
    try:
        return _boot_session() if sys.platform == "darwin" else _BOOT_ID.read_text().strip()
    except OSError:
        return uuid.uuid4().hex


def _boot_session() -> str:  # pragma: no cover  # macOS only
    text, size = ctypes.create_string_buffer(64), ctypes.c_size_t(64)
    if ctypes.CDLL(None, use_errno=True).sysctlbyname(_BOOT_SESSION, text, ctypes.byref(size), None, 0):
        raise OSError(ctypes.get_errno(), "sysctlbyname")
    return text.value.decode()
