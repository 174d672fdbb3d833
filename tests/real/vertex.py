"""A local stand-in for Claude on Vertex AI, faithful enough for the real Claude Code.

What it speaks was read off Claude Code 2.1.197 and 2.1.330 and Google's API reference:
`POST /v1/projects/P/locations/R/publishers/anthropic/models/M:streamRawPredict` with `Authorization: Bearer`, answered
by the messages API's server-sent events; `:rawPredict` without a stream, `count-tokens:rawPredict`.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, Final

from tests.fakes.in_background import in_background
from tests.real.upstream import stream

PROJECT: Final = "fake-project"
REGION: Final = "us-east5"
_MODEL: Final = re.compile(
    rf"/v1/projects/{PROJECT}/locations/{REGION}/publishers/anthropic/models/(?P<model>[^:/]+):(?P<call>\w+)"
)


@dataclass(frozen=True, slots=True)
class Seen:
    """One prompt: the token that it carried, and the status that it was answered with."""

    at: float
    path: str
    token: str
    status: int


@dataclass(slots=True)
class Vertex:
    """The running server; `accepts` says whether a token is good now. `base_url` is for `ANTHROPIC_VERTEX_BASE_URL`."""

    accepts: Callable[[str], bool]
    url: str = ""
    seen: list[Seen] = field(default_factory=list)

    @property
    def base_url(self) -> str:
        """Where Claude Code is to look for Vertex."""
        return f"{self.url}/v1"

    @property
    def refused(self) -> list[Seen]:
        """The prompts whose token was not, or no longer, good."""
        return [request for request in self.seen if request.status != HTTPStatus.OK]


@contextmanager
def serving(accepts: Callable[[str], bool]) -> Iterator[Vertex]:
    """Serve on a free port of the loopback until the block ends."""
    vertex = Vertex(accepts)
    with in_background(type("Handler", (_Handler,), {"vertex": vertex})) as vertex.url:
        yield vertex


class _Handler(BaseHTTPRequestHandler):
    vertex: Vertex
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer a prompt, if its token is good."""
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
        called = _MODEL.fullmatch(self.path.partition("?")[0])
        if called is None:
            self._json(HTTPStatus.NOT_FOUND, {"error": {"code": 404, "status": "NOT_FOUND", "message": self.path}})
            return
        token = self.headers.get("authorization", "").removeprefix("Bearer ")
        status = HTTPStatus.OK if self.vertex.accepts(token) else HTTPStatus.UNAUTHORIZED
        self.vertex.seen.append(Seen(time.time(), self.path, token, status))
        if status is not HTTPStatus.OK:
            message = "Request had invalid authentication credentials."
            self._json(status, {"error": {"code": 401, "status": "UNAUTHENTICATED", "message": message}})
        elif called["call"] == "streamRawPredict":
            events = b"".join(_event(event) for event in stream(body | {"model": called["model"]}))
            self._answer(status, events, "text/event-stream")
        else:
            self._json(status, {"input_tokens": 1, "content": []})

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is the base class's
        """Keep the test's output quiet."""

    def _json(self, status: HTTPStatus, body: dict[str, Any]) -> None:
        self._answer(status, json.dumps(body).encode(), "application/json")

    def _answer(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _event(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
