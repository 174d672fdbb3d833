"""The control socket itself: taken over from the service manager, or made here; never somebody else's."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from broker.errors import AlreadyRunning, UnsafePath
from broker.paths import private_folder

BACKLOG: Final = 4096
"""Connections that may wait to be accepted: five hundred helpers at once are not turned away."""

_LOOK_S: Final = 2.0
_FIRST_PASSED_DESCRIPTOR: Final = 3  # sd_listen_fds(3)


def passed_socket(env: Mapping[str, str] = os.environ) -> socket.socket | None:
    """Return the socket that systemd listens on for us; None where it does not.

    Raises `UnsafePath` when what was passed is not a listening Unix socket that only its owner may open.
    """
    if env.get("LISTEN_PID") != str(os.getpid()) or env.get("LISTEN_FDS", "0") == "0":
        return None
    listener = socket.socket(fileno=_FIRST_PASSED_DESCRIPTOR)
    listener.set_inheritable(False)
    if listener.family != socket.AF_UNIX or not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise UnsafePath("the service manager passed something else than a listening Unix socket; check broker.socket")
    _check(Path(listener.getsockname()))
    return listener


def own_socket(path: Path) -> socket.socket:
    """Listen at `path`, replacing what a dead daemon left; the caller holds the lock of that folder.

    Raises `AlreadyRunning` where something answers there, `UnsafePath` where it is no socket of ours.
    """
    private_folder(path.parent)
    if path.is_symlink() or path.exists():
        _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)  # the socket is 0600 from its first moment on
    try:
        listener.bind(os.fspath(path))
    finally:
        os.umask(before)
    listener.listen(BACKLOG)
    return listener


async def until_lost(path: Path) -> None:
    """Return as soon as the socket at `path` is not the one that was there at first: nobody reaches that one any more."""
    first = _identity(path)
    while _identity(path) == first:  # noqa: ASYNC110  # nothing tells that a file is gone but looking
        await asyncio.sleep(_LOOK_S)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _remove_stale(path: Path) -> None:
    found = path.lstat()
    if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid():
        raise UnsafePath(f"{path}: is there already and is no socket of yours; remove it, or set BROKER_SOCKET")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EAGAIN:  # a full queue is a live one's
                raise UnsafePath(f"{path}: cannot tell whether it is in use ({error.strerror}); remove it") from error
    raise AlreadyRunning(f"{path}: another program answers there; stop it, or set BROKER_SOCKET")


def _check(path: Path) -> None:
    folder, found = path.parent.lstat(), path.lstat()
    if found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise UnsafePath(f"{path}: must be yours and closed to others; set SocketMode=0600 in broker.socket")
    if folder.st_uid != os.geteuid() or folder.st_mode & 0o077:
        raise UnsafePath(f"{path.parent}: must be yours and closed to others; set DirectoryMode=0700 in broker.socket")
