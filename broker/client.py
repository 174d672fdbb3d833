"""The command line's client of the control socket (INTERFACES, "Control socket").

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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote, urlencode

from broker.errors import BY_CODE, BrokerError, SourceFailed, Unreachable, UnsafePath
from broker.platform import Peer, current
from broker.secret import Secret, is_servable

ANSWER_MAX: Final = 16 * 1024 * 1024
"""Longest answer read, in bytes: what answers is trusted with our questions, not with our memory."""

EVENT_LINE_MAX: Final = 64 * 1024
HEALTHY_WITHIN_S: Final = 1.0
"""A daemon answers `/healthz` from memory in a millisecond: one that takes longer does not serve."""

_RETRY_S: Final = 0.01
_SLACK_S: Final = 2.0


class NotRunning(Unreachable):
    """Nobody listens on the socket: starting a daemon mends it."""


class Disconnected(Unreachable):
    """The connection closed without an answer."""


@dataclass(frozen=True, slots=True)
class Token:
    """One answer of `/v1/token`. `expires_in_s` is None for a static key."""

    secret: Secret
    credential: str
    fingerprint: str
    expires_in_s: float | None


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event: what happened, and the facts beside it."""

    name: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Client:
    """Asks the daemon at `socket_path`; every call opens one connection and gives up after `timeout_s`.

    Every method raises `NotRunning` when nobody listens, `Unreachable` when no good answer comes, `UnsafePath`
    when somebody else could be behind the socket, and the error that the daemon answered with.
    """

    socket_path: Path
    timeout_s: float = 5.0

    def token(self, name: str | None = None, *, ttl_s: float = 0.0, deadline_s: float = 30.0) -> Token:
        """Ask for the token of `name`, or of the default credential."""
        query = {"ttl_ms": str(round(ttl_s * 1000)), "deadline_ms": str(round(deadline_s * 1000))}
        if name is not None:
            query["credential"] = name
        headers, body = self._call("GET", f"/v1/token?{urlencode(query)}", timeout_s=deadline_s + _SLACK_S)
        text = body.decode("latin-1")
        if not is_servable(text):
            raise SourceFailed("the daemon answered with something that is no token; look at: broker status")
        return Token(
            secret=Secret(text),
            credential=headers.get("X-Broker-Credential", ""),
            fingerprint=headers.get("X-Broker-Fingerprint", ""),
            expires_in_s=_seconds(headers.get("X-Broker-Expires-In")),
        )

    def credential(self, name: str, *, deadline_s: float = 30.0) -> dict[str, Any]:
        """Ask for every part of `name`. Secrets are in it: show it only to who asked by name."""
        target = f"/v1/credentials/{quote(name, safe='')}?ttl_ms=0&deadline_ms={round(deadline_s * 1000)}"
        return document(self._call("GET", target, timeout_s=deadline_s + _SLACK_S)[1])

    def status(self) -> dict[str, Any]:
        """Ask how the daemon and its credentials are; never a secret."""
        return document(self.status_text())

    def status_text(self) -> bytes:
        """Return the answer of `status` as it came."""
        return self._call("GET", "/v1/status")[1]

    def refresh(self, name: str | None = None, *, deadline_s: float = 60.0) -> dict[str, Any]:
        """Force one refresh of `name`, or of the default credential; return its status afterwards."""
        asked = {} if name is None else {"credential": name}
        return document(self._call("POST", "/v1/refresh", asked, timeout_s=deadline_s)[1])

    def rejected(self, name: str, fingerprint: str, status: int) -> None:
        """Report that upstream refused this token with this HTTP status."""
        self._call("POST", "/v1/rejected", {"credential": name, "fingerprint": fingerprint, "status": status})

    def healthy(self) -> bool:
        """Whether a daemon serves, and answers within a second. Raises `UnsafePath` only."""
        try:
            self._call("GET", "/healthz", timeout_s=min(self.timeout_s, HEALTHY_WITHIN_S))
        except UnsafePath:
            raise
        except BrokerError:
            return False
        return True

    def events(self) -> Iterator[Event]:
        """Yield what happens, as it happens, until the daemon ends the stream (no time-out: life may be quiet)."""
        with self.session() as session:
            answer = session.ask("GET", "/v1/events")
            session.wait_forever()
            yield from _events(answer)

    def session(self) -> Session:
        """Open one connection, for a caller that must know whom it talks to."""
        return Session(self.socket_path, self.timeout_s)

    def _call(
        self, method: str, target: str, body: Mapping[str, Any] | None = None, *, timeout_s: float | None = None
    ) -> tuple[Mapping[str, str], bytes]:
        for last_try in (False, True):
            with Session(self.socket_path, timeout_s or self.timeout_s) as session:
                try:
                    answer = session.ask(method, target, body)
                    return dict(answer.headers), session.read(answer)
                except Disconnected:
                    # It was draining: the next daemon answers on the same socket (INTERFACES, `BROKER_AUTOSTART`).
                    if last_try:
                        raise
        raise AssertionError  # pragma: no cover  # the loop returns or raises


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
            raise _refusal(answer.headers.get("X-Broker-Error", ""), self.read(answer))
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


def document(body: bytes) -> dict[str, Any]:
    """Read an answer that is a JSON object; raise `Unreachable` where it is none."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Unreachable("the daemon's answer is not JSON; is it of this version? run: broker restart") from error
    if not isinstance(answer, dict):
        raise Unreachable("the daemon's answer is not a JSON object; is it of this version? run: broker restart")
    return answer


def _seconds(header: str | None) -> float | None:
    try:
        return None if header is None else float(header)
    except ValueError as error:
        raise Unreachable("the daemon's X-Broker-Expires-In is no number; run: broker restart") from error


def _refusal(code: str, body: bytes) -> BrokerError:
    """Turn an error answer back into the error that the daemon raised."""
    lines = body.decode("utf-8", "replace").strip().splitlines()
    message = lines[0] if lines else f"the daemon refused without a reason ({code or 'no code'})"
    return BY_CODE.get(code, BrokerError)(message)


def _events(stream: http.client.HTTPResponse) -> Iterator[Event]:
    """Read the server-sent events format (WHATWG HTML, 9.2.6): `event:` and `data:` lines, ended by a blank one."""
    name, data = "", ""
    try:
        while line := stream.readline(EVENT_LINE_MAX):
            field, _, value = line.decode("utf-8", "replace").rstrip("\r\n").partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                name = value
            elif field == "data":
                data += value
            elif not field and not value:
                if name:
                    yield Event(name, document((data or "{}").encode()))
                name, data = "", ""
    except (OSError, http.client.HTTPException):
        return


def _not_running(path: Path) -> NotRunning:
    return NotRunning(f"no daemon answers on {path}; start it with: broker start")


def _no_answer(path: Path, error: Exception) -> Unreachable:
    reason = "it took too long" if isinstance(error, TimeoutError) else (str(error) or type(error).__name__)
    return Unreachable(f"the daemon at {path} gave no good answer ({reason}); try: broker restart")
