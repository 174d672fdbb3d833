"""What the operating system tells about callers, and how a process guards itself."""

from __future__ import annotations

import sys

from broker.platform.interface import Peer, Pinned, Platform, TcpPeer

__all__ = ["Peer", "Pinned", "Platform", "TcpPeer", "current"]


def current() -> Platform:
    """Return the platform this runs on."""
    if sys.platform == "darwin":
        from broker.platform.macos import MacOS  # noqa: PLC0415  # psutil is installed only there

        return MacOS()
    from broker.platform.linux import Linux  # noqa: PLC0415  # the other branch's modules may be missing

    return Linux()
