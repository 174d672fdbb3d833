"""A server of a test's own that speaks JSON over HTTP, in threads of this process: it hangs and fails when told to."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.fakes.in_background import in_background

_HANG_MAX_S = 60.0


@dataclass(frozen=True, slots=True)
class Asked:
    """One call as it arrived; names of headers in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True, slots=True)
class Answer:
    """What to say: JSON, or a text as it is; None of both is an empty body."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        """The body's bytes."""
        if isinstance(self.body, str):
            return self.body.encode()
        return b"" if self.body is None else json.dumps(self.body).encode()


@dataclass
class JsonServer:
    """Base of such a server. `gate`: closed, no call is answered; `scripted`: answers in place of its own, in turn."""

    url: str = ""
    gate: threading.Event = field(default_factory=threading.Event)
    asked: list[Asked] = field(default_factory=list)
    scripted: list[Answer] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def answer(self, asked: Asked) -> Answer:
        """Say what it does by itself."""
        raise NotImplementedError

    def handle(self, asked: Asked) -> Answer:
        """Answer one call."""
        with self.lock:
            self.asked.append(asked)
        self.gate.wait(_HANG_MAX_S)
        with self.lock:
            return self.scripted.pop(0) if self.scripted else self.answer(asked)

    @contextmanager
    def serving(self, tls: ssl.SSLContext | None = None) -> Iterator[None]:
        """Serve on a free port of the loopback until the block ends, over `tls` if given."""
        with in_background(type("Handler", (_Handler,), {"own": self}), self.gate, tls) as self.url:
            yield


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65_536  # one packet an answer: the second of two would wait for the first to be confirmed
    own: JsonServer

    def _handle(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.own.handle(Asked(self.command, self.path, headers, json.loads(raw or "null")))
        self.send_response_only(answer.status)
        own = {
            "Date": self.date_time_string(),
            "Content-Type": "text/plain" if isinstance(answer.body, str) else "application/json",
            "Content-Length": str(len(answer.content)),
        }
        for name, value in (own | dict(answer.headers)).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.content)

    do_GET = do_POST = _handle  # noqa: N815  # http.server's names

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""
