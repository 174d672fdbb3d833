"""The page of this machine that the browser comes back to after a sign-in (RFC 8252, 7.3), for as long as that takes."""

from __future__ import annotations

import errno
import hmac
import queue
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from broker.cli.output import printable
from broker.errors import NeedsLogin

HOST: Final = "127.0.0.1"
PORT: Final = 8250
"""What `vault login -method=oidc` uses, so that roles usually allow it (`allowed_redirect_uris`)."""
PATH: Final = "/oidc/callback"
REQUEST_S: Final = 10.0
"""A browser opens connections that it may need later and says nothing on them."""

_TARGET_MAX: Final = 16 * 1024
_SAID_MAX: Final = 200
_POLL_S: Final = 0.02
"""How soon the page is gone when it is no longer wanted."""
_HEADERS: Final = {
    "Content-Type": "text/plain; charset=utf-8",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Connection": "close",
}
_DONE: Final = "The browser's part is done: close this page, and see in the terminal whether it worked.\n"


class Redirect:
    """The listening page."""

    def __init__(self, server: _Server) -> None:
        self._server = server

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.server_port

    @property
    def uri(self) -> str:
        """What the provider is to send the browser to."""
        return f"http://localhost:{self.port}{PATH}"

    def code(self, state: str, within_s: float) -> str:
        """Wait for the code that belongs to `state`. Raises `NeedsLogin` where the provider refuses, or nobody comes."""
        deadline = time.monotonic() + within_s
        while (left_s := deadline - time.monotonic()) > 0:
            try:
                answer = self._server.answers.get(timeout=left_s)
            except queue.Empty:
                break
            # Any page that the person has open can send the browser here: only who knows the state is the provider.
            if not hmac.compare_digest(answer.get("state", "").encode(), state.encode()):
                continue
            if code := answer.get("code"):
                return code
            why = answer.get("error_description") or answer.get("error") or "no reason given"
            raise NeedsLogin(f"the identity provider refused: {printable(why)[:_SAID_MAX]}")
        raise NeedsLogin(f"nobody signed in within {within_s / 60:g} minutes; try again")


@contextmanager
def listening(port: int = PORT) -> Iterator[Redirect]:
    """Listen on this port of the loopback, or on any free one where it is taken, as long as the context lasts."""
    with _server(port) as server:
        thread = Thread(target=server.serve_forever, args=(_POLL_S,), daemon=True)
        thread.start()
        try:
            yield Redirect(server)
        finally:
            server.shutdown()
            thread.join()


def _server(port: int) -> _Server:
    try:
        return _Server(port)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        return _Server(0)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int) -> None:
        self.answers: queue.Queue[dict[str, str]] = queue.Queue(16)
        super().__init__((HOST, port), _Handler)

    def handle_error(self, *_arguments: Any) -> None:  # noqa: ANN401  # http.server's own
        """Say nothing of callers that left."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = REQUEST_S

    def do_GET(self) -> None:
        """Take an answer."""
        # A page elsewhere whose name is made to lead here (DNS rebinding) sends that name.
        port = self.server.server_port
        if self.headers.get_all("Host") not in ([f"localhost:{port}"], [f"{HOST}:{port}"]):
            return self._say(400, "This is not the page that you are looking for.\n")
        # A script of another page sends its origin; a browser that is sent here by the provider has none.
        if "Origin" in self.headers:
            return self._say(403, "Scripts have no business here.\n")
        target = urlsplit(self.path)
        if target.path != PATH or len(self.path) > _TARGET_MAX:
            return self._say(404, "There is nothing here.\n")
        found = {name: values[0] for name, values in parse_qs(target.query).items() if len(values) == 1}
        if not found.get("state") or not (found.get("code") or found.get("error")):
            return self._say(400, "The answer has no state and code.\n")
        try:
            self.server.answers.put_nowait(found)
        except queue.Full:
            return self._say(503, "Too many answers.\n")
        return self._say(200, _DONE)

    def version_string(self) -> str:
        """Name no versions."""
        return "broker"

    def log_message(self, *_arguments: object) -> None:
        """Say nothing: the request line holds the code."""

    def _say(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
