"""Whether an identity that AWS's settings name is this broker itself: it would wait for itself for ever."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

_PROGRAMS: Final = frozenset({"broker", "broker-helper", "broker_helper.py"})
_DESCRIPTORS: Final = Path("/dev/fd")


def is_program(command: str) -> bool:
    """Whether a command runs the broker: directly, through links, or by another program such as `env` or `sh -c`."""
    return any(_is_ours(word) for word in _words(command))


def listens_at(url: str) -> bool:
    """Whether this very process listens there."""
    try:
        parts = urlsplit(url)
        port = parts.port or 80
        addresses = {found[4][0] for found in socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)}
    except (OSError, ValueError):
        return False
    return any((address, port) in set(_listening()) for address in addresses)


def _words(command: str) -> Iterator[str]:
    try:
        words = shlex.split(command)
    except ValueError:
        words = command.split()
    for word in words:
        yield word
        if any(character.isspace() for character in word):  # what a shell is given to run
            yield from word.split()


def _is_ours(word: str) -> bool:
    path = shutil.which(os.path.expanduser(word))  # noqa: PTH111  # Path.expanduser raises instead
    return path is not None and bool({Path(path).name, Path(os.path.realpath(path)).name} & _PROGRAMS)


def _listening() -> Iterator[tuple[str, int]]:
    for entry in _DESCRIPTORS.iterdir():
        with suppress(OSError), ExitStack() as stack:
            copy = os.dup(int(entry.name))
            stack.callback(os.close, copy)
            if stat.S_ISSOCK(os.fstat(copy).st_mode):
                stack.pop_all()
                yield from _address(copy)


def _address(descriptor: int) -> Iterator[tuple[str, int]]:
    """Give where a socket accepts connections from the network, and close it."""
    with socket.socket(fileno=descriptor) as found:
        if found.family in {socket.AF_INET, socket.AF_INET6} and found.getsockopt(
            socket.SOL_SOCKET, socket.SO_ACCEPTCONN
        ):
            yield found.getsockname()[:2]
