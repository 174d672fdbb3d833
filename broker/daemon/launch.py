"""The start of a daemon, up to the moment when it serves.

Before the server's library is loaded: that takes as long as the keyring takes to answer, so they do it side by side.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import socket
import sys
from contextlib import suppress
from pathlib import Path

from broker import config, locks, paths, platform
from broker import listener as listening
from broker.daemon.turning_away import turn_away
from broker.errors import BrokerError
from broker.sources import TYPES
from broker.storage.store import EncryptedStore


def run(config_path: Path) -> int:
    """Serve until told to stop; return the exit code. Raises `BrokerError` where serving cannot begin."""
    os.umask(0o077)
    system = platform.current()
    system.harden()
    listener = listening.passed_socket()
    try:
        return _serve(config_path, system, listener)
    except BrokerError as error:
        if listener is not None:
            turn_away(listener, error)  # else their asks would have the service manager start us again at once
        raise


def _serve(config_path: Path, system: platform.Platform, listener: socket.socket | None) -> int:
    settings = config.read(config_path, TYPES)
    _set_up_log(settings.daemon.log_level)
    _raise_descriptor_limit()
    locks.take(paths.state_dir(), locks.STATE)
    path = Path(listener.getsockname()) if listener is not None else paths.socket_path()
    lock = locks.take(path.parent, locks.SOCKET)
    store = EncryptedStore(paths.state_dir(), settings.daemon.persist)
    store.begin()
    activated = listener is not None
    if listener is None:
        listener = listening.own_socket(path)
    try:
        from broker.daemon.serving import Daemon  # noqa: PLC0415  # aiohttp takes as long as the keyring: side by side

        asyncio.run(Daemon(settings, system, listener, lock, store).serve())
    finally:
        if not activated:
            path.unlink(missing_ok=True)  # the lock is still held, so it is still ours
    return 0


def _set_up_log(level: str) -> None:
    moment = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "  # the journal keeps the time itself
    line = f"{moment}%(levelname)s %(name)s: %(message)s"
    logging.basicConfig(stream=sys.stderr, format=line, level=logging.WARNING)
    logging.getLogger("broker").setLevel(level.upper())
    # It would quote a malformed request byte by byte, with whatever secret a confused client put there.
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL)


def _raise_descriptor_limit() -> None:
    """A thousand idle connections must not stop the next one: take all the descriptors we may have."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 1 << 16), hard))
