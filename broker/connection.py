"""One checked connection to the control socket: whom the client talks to, and what went wrong with it.

`http.client` over a Unix socket: importing aiohttp would cost more time than the whole of `broker status`.
"""

from __future__ import annotations

import errno
import http.client
import json
import os
import socket
import stat
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

from broker.errors import BY_CODE, BrokerError, Unreachable, UnsafePath
from broker.platform import Peer, current

ANSWER_MAX: Final = 16 * 1024 * 1024
"""Longest answer read, in bytes: what answers is trusted with our questions, not with our memory."""

_RETRY_S: Final = 0.01
_NO_SUCH_CALL: Final = {(404, "bad-request"), (405, "bad-request")}
"""How a daemon answers a call that it does not have: an unknown credential's 404 has a code of its own."""


class NotRunning(Unreachable):
    """Nobody listens on the socket: starting a daemon mends it."""


class Disconnected(Unreachable):
    """The connection closed without an answer."""


class Session:
    """One checked connection. `peer` is who listens there."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        self._path = path
        check_socket(path)
        sock = _connect(path, timeout_s)
        try:
            self.peer = _own_peer(sock, path)
        except BaseException:
            sock.close()
            raise
        self._connection = http.client.HTTPConnection("localhost", timeout=timeout_s)
        self._connection.sock = self._sock = sock
        self._answer: http.client.HTTPResponse | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._answer is not None:
            self._answer.close()
        self._connection.close()

    def ask(self, method: str, target: str, body: Mapping[str, Any] | None = None) -> http.client.HTTPResponse:
        """Send one request and return the answer's head; raise what the daemon says went wrong."""
        data = None if body is None else json.dumps(body).encode()
        headers = {} if data is None else {"Content-Type": "application/json"}
        try:
            self._connection.request(method, target, data, headers)
            answer = self._answer = self._connection.getresponse()
        except ConnectionError as error:
            raise Disconnected(str(_no_answer(self._path, error))) from error
        except (OSError, http.client.HTTPException) as error:
            raise _no_answer(self._path, error) from error
        if answer.status != http.HTTPStatus.OK:
            raise _refusal(answer.status, answer.headers.get("X-Broker-Error", ""), self.read(answer))
        return answer

    def read(self, answer: http.client.HTTPResponse) -> bytes:
        """Read the rest of an answer, up to `ANSWER_MAX`."""
        try:
            body = answer.read(ANSWER_MAX + 1)
        except ConnectionError as error:
            raise Disconnected(str(_no_answer(self._path, error))) from error
        except (OSError, http.client.HTTPException) as error:
            raise _no_answer(self._path, error) from error
        if len(body) > ANSWER_MAX:
            raise Unreachable(f"the daemon at {self._path} answered with more than {ANSWER_MAX} bytes")
        return body

    def wait_forever(self) -> None:
        """Drop the time-out: the stream that follows may be silent for hours."""
        self._sock.settimeout(None)


def check_socket(path: Path) -> None:
    """Check that only we can have made this socket, as the helper does.

    Raises `NotRunning` when it is not there, `UnsafePath` when others own it or could have put it there: a
    stranger's socket would be told which credentials we have, and could answer with a token of its own.
    """
    for place, is_type, noun, mode in (
        (path.parent, stat.S_ISDIR, "folder", 0o700),
        (path, stat.S_ISSOCK, "socket", 0o600),
    ):
        try:
            found = place.lstat()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise _not_running(path) from error
        except OSError as error:
            raise UnsafePath(f"{noun} {place}: {error.strerror}; set BROKER_SOCKET to a place of your own") from error
        if not is_type(found.st_mode):
            raise UnsafePath(f"{place}: must be a {noun}, not a link or another file; remove it")
        if found.st_uid != os.geteuid():
            raise UnsafePath(f"{noun} {place}: belongs to uid {found.st_uid}, not to you; set BROKER_SOCKET")
        if found.st_mode & 0o077:
            wrong = stat.S_IMODE(found.st_mode)
            raise UnsafePath(f"{noun} {place}: open to others (mode {wrong:04o}); run: chmod {mode:o} {place}")


def _connect(path: Path, timeout_s: float) -> socket.socket:
    """Connect; a full accept queue (EAGAIN) is a busy daemon, so wait for it."""
    deadline = time.monotonic() + timeout_s
    while True:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(timeout_s)
        try:
            sock.connect(str(path))
        except OSError as error:
            sock.close()
            if error.errno in (errno.ENOENT, errno.ECONNREFUSED):
                raise _not_running(path) from error
            if error.errno != errno.EAGAIN or time.monotonic() > deadline:
                raise _no_answer(path, error) from error
            time.sleep(_RETRY_S)
        else:
            sock.settimeout(max(_RETRY_S, deadline - time.monotonic()))  # what the wait for the queue left
            return sock


def _own_peer(sock: socket.socket, path: Path) -> Peer:
    """Name the process that listens; raise `UnsafePath` when it is not ours: somebody swapped the socket since."""
    peer = current().peer(sock)
    if peer.uid != os.geteuid():
        raise UnsafePath(f"socket {path}: uid {peer.uid} listens there, not you; set BROKER_SOCKET")
    return peer


def _refusal(status: int, code: str, body: bytes) -> BrokerError:
    """Turn an error answer back into the error that the daemon raised."""
    lines = body.decode("utf-8", "replace").strip().splitlines()
    message = lines[0] if lines else f"the daemon refused without a reason ({code or 'no code'})"
    if (status, code) in _NO_SUCH_CALL:
        return Unreachable(f"the daemon is of another version and cannot do this ({message}); run: broker restart")
    return BY_CODE.get(code, BrokerError)(message)


def _not_running(path: Path) -> NotRunning:
    return NotRunning(f"no daemon answers on {path}; start it with: broker start")


def _no_answer(path: Path, error: Exception) -> Unreachable:
    reason = "it took too long" if isinstance(error, TimeoutError) else (str(error) or type(error).__name__)
    return Unreachable(f"the daemon at {path} gave no good answer ({reason}); try: broker restart")
