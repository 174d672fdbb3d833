"""As much of an OAuth provider as tests of the source need, over real HTTP, in threads of this process.

Unlike a real one (tests/real/provider.py) it gives odd answers, hangs when told to, and shows what it was asked.
"""

from __future__ import annotations

import base64
import itertools
import json
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from tests.fakes.in_background import in_background

Reply = tuple[int, object]
"""Status and body: an object is sent as JSON, bytes as they are."""

_HANG_MAX_S = 60.0


@dataclass
class FakeProvider:
    """`answer`: what a token request gets, `extra` beside the token; `script`: replies that come first, by path.

    `dates`: what it takes the time to be.
    """

    address: str = ""
    answer: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=lambda: {"token_type": "Bearer"})
    metadata: dict[str, Any] = field(default_factory=dict)
    script: dict[str, Reply] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    dates: list[str] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    form: dict[str, str] = field(default_factory=dict)
    forms: list[dict[str, str]] = field(default_factory=list)
    basic: tuple[str, str] | None = None
    gate: threading.Event = field(default_factory=threading.Event)
    live: str | None = None
    used: set[str] = field(default_factory=set)
    reuses: int = 0
    rotates: bool = True
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def handle(self, path: str, body: str, authorization: str) -> Reply:
        """Answer one call."""
        self.calls[path] += 1
        if body:
            self.form = dict(parse_qsl(body, keep_blank_values=True))
            self.forms.append(self.form)
            self.basic = _basic(authorization)
        self.gate.wait(_HANG_MAX_S)
        if path in self.script:
            return self.script[path]
        if path.startswith("/.well-known"):
            return (200, self.metadata) if self.metadata else (404, b"nothing here")
        match path:
            case "/token":
                return self._token()
            case "/device":
                return self._device()
            case "/revoke":
                return 200, b""
        return 404, b"nothing here"

    def fail(self, error: str, description: str | None = None, status: int = 400) -> None:
        """Let every token request be refused."""
        told = {"error": error} | ({"error_description": description} if description is not None else {})
        self.script["/token"] = (status, told)

    def born(self) -> str:
        """Give a refresh token, the only live one from now on."""
        self.live = f"fake-refresh-{next(self._numbers)}"
        return self.live

    def _token(self) -> Reply:
        grant = self.form.get("grant_type", "")
        if grant == "refresh_token":
            return self._refresh(self.form.get("refresh_token", ""))
        if grant == "authorization_code" or grant.endswith("device_code"):
            return 200, self._issued() | {"refresh_token": self.born()}
        return 200, self._issued()

    def _refresh(self, shown: str) -> Reply:
        if shown in self.used:
            self.reuses += 1
            self.live = None
        if shown != self.live:
            return 400, {"error": "invalid_grant", "error_description": "the refresh token is not live"}
        if not self.rotates:
            return 200, self._issued()
        self.used.add(shown)
        return 200, self._issued() | {"refresh_token": self.born()}

    def _issued(self) -> dict[str, Any]:
        token = {"access_token": f"fake-access-{next(self._numbers)}"} if not self.answer else self.answer
        return {**token, **self.extra}

    def _device(self) -> Reply:
        return 200, {
            "device_code": "fake-device-code",
            "user_code": "ABCD-EFGH",
            "verification_uri": f"{self.address}/activate",
            "expires_in": 60,
            "interval": 1,
        }


def _basic(authorization: str) -> tuple[str, str] | None:
    if not authorization.startswith("Basic "):
        return None
    name, _, secret = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
    return unquote_plus(name), unquote_plus(secret)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65_536  # one packet an answer: the second of two would wait for the first to be confirmed
    provider: FakeProvider

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        status, reply = self.provider.handle(self.path, body, self.headers.get("Authorization", ""))
        content = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
        self.send_response(status)
        own = {"Content-Type": "text/html" if isinstance(reply, bytes) else "application/json"}
        self.send_header("Content-Length", str(len(content)))
        for name, value in (own | self.provider.headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = _handle  # noqa: N815  # http.server's names

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Have another time where one is planted."""
        return self.provider.dates[-1] if self.provider.dates else super().date_time_string(timestamp)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@contextmanager
def fake_provider(tls: ssl.SSLContext | None = None) -> Iterator[FakeProvider]:
    """Run one on a free port of the loopback until the block ends, over `tls` if given."""
    provider = FakeProvider()
    handler = type("Handler", (_Handler,), {"provider": provider})
    with in_background(handler, provider.gate, tls) as provider.address:
        yield provider
