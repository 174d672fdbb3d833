"""Tells the service manager how we are: sd_notify(3), the documented protocol, which is one datagram."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping

_MICRO = 1_000_000


def notify(state: str, env: Mapping[str, str] = os.environ) -> None:
    """Send `state` (lines of NAME=VALUE); without a service manager do nothing. Never raises."""
    address = env.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
        out.settimeout(1)
        try:
            out.sendto(state.encode(), address.replace("@", "\0", 1) if address.startswith("@") else address)
        except OSError:
            return  # nobody listens any more; that must not stop the daemon


def watchdog_interval_s(env: Mapping[str, str] = os.environ) -> float | None:
    """How often to send `WATCHDOG=1`: half of what the service manager allows; None: it does not watch."""
    if env.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    text = env.get("WATCHDOG_USEC", "")
    return int(text) / _MICRO / 2 if text.isdecimal() and int(text) > 0 else None


async def keep_notifying(status: Callable[[], str], interval_s: float) -> None:
    """Send the watchdog's sign of life, and what `status` says, for as long as the event loop turns."""
    while True:
        notify(f"WATCHDOG=1\nSTATUS={status()}")
        await asyncio.sleep(interval_s)
