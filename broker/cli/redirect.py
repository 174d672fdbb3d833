"""The page of this machine that the browser comes back to after a sign-in (RFC 8252, 7.3), for as long as that takes."""

from __future__ import annotations

import errno
import hmac
import queue
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from broker.cli.output import printable
from broker.errors import NeedsLogin
from broker.sign_in import Page

HOST: Final = "127.0.0.1"
REQUEST_S: Final = 10.0
"""A browser opens connections that it may need later and says nothing on them."""

_TARGET_MAX: Final = 16 * 1024
_SAID_MAX: Final = 200
_FIELDS_MAX: Final = 50
_CODE: Final = re.compile(r"[A-Za-z0-9._~/+=-]{8,4096}", re.ASCII)
"""What looks like a code alone: no query, so no address."""
_ISSUER: Final = "iss"
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
        return f"http://{self._server.page.host}:{self.port}{self._server.page.path}"

    def paste(self, text: str, state: str, issuer: str | None = None) -> bool:
        """Take what a person copied from a browser elsewhere: the whole address that it ended at, or the code alone.

        Return False where it is neither, or the answer to another sign-in, and for a code that does not say whose it
        is where `issuer` wants that.
        """
        found = {"code": text, "state": state} if _CODE.fullmatch(text) else _answer(text)
        if found is None or not _belongs(found, state) or (issuer is not None and _ISSUER not in found):
            return False
        with suppress(queue.Full):
            self._server.answers.put_nowait(found)
        return True

    def code(self, state: str, within_s: float, issuer: str | None = None) -> str:
        """Wait for the code that belongs to `state`, and is of `issuer` where its answers say whose they are.

        Raises `NeedsLogin` where the provider refuses, another one answers, or nobody comes.
        """
        deadline = time.monotonic() + within_s
        while (left_s := deadline - time.monotonic()) > 0:
            try:
                answer = self._server.answers.get(timeout=left_s)
            except queue.Empty:
                break
            # Any page that the person has open can send the browser here: only who knows the state is the provider.
            if not _belongs(answer, state):
                continue
            if code := answer.get("code"):
                _check_issuer(answer, issuer)
                return code
            why = answer.get("error_description") or answer.get("error") or "no reason given"
            raise NeedsLogin(f"the identity provider refused: {printable(why)[:_SAID_MAX]}")
        raise NeedsLogin(f"nobody signed in within {within_s / 60:g} minutes; try again")


@contextmanager
def listening(page: Page) -> Iterator[Redirect]:
    """Listen where `page` says, or on any free port where that is taken, as long as the context lasts."""
    with _server(page) as server:
        thread = Thread(target=server.serve_forever, args=(_POLL_S,), daemon=True)
        thread.start()
        try:
            yield Redirect(server)
        finally:
            server.shutdown()
            thread.join()


def _server(page: Page) -> _Server:
    try:
        return _Server(page, page.port)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        return _Server(page, 0)


def _answer(target: str) -> dict[str, str] | None:
    """Read the query of an address; None where it is no answer of a provider's."""
    try:
        query = parse_qs(urlsplit(target).query, max_num_fields=_FIELDS_MAX)
    except ValueError:
        return None
    found = {name: values[0] for name, values in query.items() if len(values) == 1}
    return found if found.get("state") and (found.get("code") or found.get("error")) else None


def _belongs(answer: dict[str, str], state: str) -> bool:
    return hmac.compare_digest(answer.get("state", "").encode(), state.encode())


def _check_issuer(answer: dict[str, str], issuer: str | None) -> None:
    """Raise `NeedsLogin` where it is another's, compared to the letter (RFC 9207, 2.4).

    Mix-up attack: a provider that is hostile, or was taken over, has the browser sign in at an honest one, and we would
    hand the honest one's code to the hostile one's token endpoint.
    """
    found = answer.get(_ISSUER)
    if issuer is None or found == issuer:
        return
    whose = "nobody (no iss)" if found is None else printable(found)[:_SAID_MAX]
    raise NeedsLogin(f"the browser's answer is of {whose}, not of {printable(issuer)}; its code was sent nowhere")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, page: Page, port: int) -> None:
        self.page = page
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
        if self.path.partition("?")[0] != self.server.page.path or len(self.path) > _TARGET_MAX:
            return self._say(404, "There is nothing here.\n")
        found = _answer(self.path)
        if found is None:
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
