"""A scripted control socket: speaks as the daemon does over a Unix socket, holds made-up credentials, records every ask."""

from __future__ import annotations

import json
import os
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


def credential_status(name: str, **changes: Any) -> dict[str, Any]:  # noqa: ANN401  # any field of the JSON
    """Make one entry of `credentials` in `GET /v1/status`: fresh, with 42 of 60 minutes left, unless changed."""
    return {
        "name": name,
        "source": "corp",
        "kind": "api-key",
        "state": "fresh",
        "refreshing": False,
        "expires_at": "2036-01-01T00:42:00Z",
        "expires_in_s": 2520,
        "lifetime_s": 3600,
        "fingerprint": "0123456789ab",
        "last_refresh_at": "2026-01-01T00:00:00Z",
        "next_refresh_at": "2036-01-01T00:28:00Z",
        "served": 1204,
        "refreshes": 31,
        "failures": 0,
        "rejections": 0,
        "last_error": None,
        "warnings": [],
        "details": {},
    } | changes


@dataclass
class Script:
    """What the fake daemon says, and (`asks`) what it was asked: `METHOD TARGET BODY`."""

    credentials: list[dict[str, Any]] = field(default_factory=lambda: [credential_status("work")])
    daemon: dict[str, Any] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=lambda: {"work": "fake-token-1"})
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)
    consumers: dict[str, dict[str, Any]] = field(default_factory=dict)
    errors: dict[str, tuple[int, str, str]] = field(default_factory=dict)
    raw: dict[str, bytes] = field(default_factory=dict)
    dropped: int = 0
    asks: list[str] = field(default_factory=list)
    events: queue.Queue[tuple[str, dict[str, Any]] | None] = field(default_factory=queue.Queue)

    def status(self, socket: str) -> dict[str, Any]:
        """Answer `GET /v1/status`."""
        daemon = {"version": "0.1.0", "pid": os.getpid(), "uptime_s": 11_520, "socket": socket, "locked": False}
        daemon |= {"persist": "off", "helper": "native", "warnings": []} | self.daemon
        return {"daemon": daemon, "credentials": self.credentials}


@contextmanager
def serving(socket: Path, script: Script) -> Iterator[Script]:
    """Serve `script` on `socket` (0600 in a folder of 0700) as long as the context lasts."""
    socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    server = _Server(str(socket), _Handler)
    server.script = script
    socket.chmod(0o600)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield script
    finally:
        script.events.put(None)
        server.shutdown()
        server.server_close()
        socket.unlink(missing_ok=True)


class _Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True
    request_queue_size = 64
    script: Script


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        """Answer the calls that only read."""
        self._answer("")

    def do_POST(self) -> None:
        """Answer the calls that change something."""
        self._answer(self.rfile.read(int(self.headers["Content-Length"])).decode())

    def do_PUT(self) -> None:
        """Answer the calls that store something."""
        self.do_POST()

    def do_DELETE(self) -> None:
        """Answer the calls that remove something."""
        self._answer("")

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self, body: str) -> None:
        script = self.server.script
        script.asks.append(f"{self.command} {self.path} {body}".strip())
        path = urlsplit(self.path).path
        if script.dropped:
            script.dropped -= 1
            self.close_connection = True
        elif path in script.errors:
            status, code, message = script.errors[path]
            self._send(status, message.encode(), {"X-Broker-Error": code, "Content-Type": "text/plain"})
        elif path in script.raw:
            self._send(200, script.raw[path], {"Content-Type": "application/octet-stream"})
        else:
            self._route(path, json.loads(body) if body else {})

    def _route(self, path: str, body: dict[str, Any]) -> None:
        script = self.server.script
        if path == "/v1/status":
            self._json(script.status(str(self.server.server_address)))
        elif path == "/v1/token":
            self._token(parse_qs(urlsplit(self.path).query).get("credential", ["work"])[0])
        elif path.startswith("/v1/credentials/"):
            self._json(script.parts[unquote(path.removeprefix("/v1/credentials/"))])
        elif path == "/v1/consumers":
            self._consumer(body["credential"])
        elif path == "/v1/refresh":
            self._json(next(item for item in script.credentials if item["name"] == body["credential"]))
        elif path == "/v1/events":
            self._stream()
        else:
            self._send(200, b"ok\n", {"Content-Type": "text/plain"})

    def _token(self, name: str) -> None:
        script = self.server.script
        if name not in script.tokens:
            message = f"no credential is named {name}; see: broker status"
            self._send(404, message.encode(), {"X-Broker-Error": "unknown-credential"})
            return
        headers = {"X-Broker-Credential": name, "X-Broker-Fingerprint": "0123456789ab", "Cache-Control": "no-store"}
        self._send(200, script.tokens[name].encode(), headers | {"X-Broker-Expires-In": "2520"})

    def _consumer(self, name: str) -> None:
        found = self.server.script.consumers.get(name)
        if found is not None:
            self._json({"set": {}, "unset": [], "lasting": True, "problem": None} | found)
        else:
            message = f"{name} is of kind api-key, which no endpoint serves"
            self._send(400, message.encode(), {"X-Broker-Error": "bad-request"})

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with suppress(BrokenPipeError):  # the listener left
            while event := self.server.script.events.get():
                text = f"event: {event[0]}\ndata: {json.dumps(event[1])}\n\n".encode()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(text), text))
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True

    def _json(self, document: dict[str, Any]) -> None:
        self._send(200, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
