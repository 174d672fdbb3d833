"""A local stand-in for the Anthropic messages API, faithful enough for the real Claude Code.

What it speaks was read off Claude Code 2.1.197 and 2.1.330 and the public API reference: the stream of
server-sent events of `POST /v1/messages`, the error JSON of 401 and 403, `HEAD /`, `count_tokens`.
It answers every prompt with "pong", except `run: COMMAND`, which asks Claude Code's Bash tool to run that.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, Final

from tests.fakes.in_background import in_background
from tests.real.mint import Mint

ANSWER: Final = "pong"
TOOL_PREFIX: Final = "run: "
_ERRORS: Final = {401: ("authentication_error", "invalid x-api-key"), 403: ("permission_error", "Forbidden")}


@dataclass(frozen=True, slots=True)
class Seen:
    """One request to `/v1/messages` as it arrived, and the status it was answered with."""

    at: float
    path: str
    key: str
    authorization: str
    model: str
    status: int
    betas: str = ""


@dataclass(slots=True)
class Upstream:
    """The running server: what it accepts, how it refuses, and what it has seen."""

    url: str = ""
    mint: Mint = field(default_factory=Mint)
    refusal: int = 401
    seen: list[Seen] = field(default_factory=list)

    @property
    def mint_url(self) -> str:
        """Where the `command` source gets its tokens."""
        return f"{self.url}/mint"

    @property
    def refused(self) -> list[Seen]:
        """The requests that carried a token which was not, or no longer, good."""
        return [request for request in self.seen if request.status != HTTPStatus.OK]


@contextmanager
def serving() -> Iterator[Upstream]:
    """Serve on a free port of the loopback until the block ends."""
    upstream = Upstream()
    with in_background(type("Handler", (_Handler,), {"upstream": upstream})) as upstream.url:
        yield upstream


class _Handler(BaseHTTPRequestHandler):
    upstream: Upstream
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        """Claude Code looks whether the host is there."""
        self._answer(HTTPStatus.OK, b"")

    def do_GET(self) -> None:
        """The one thing to get is a new token."""
        if self.path != "/mint":
            self._json(HTTPStatus.NOT_FOUND, {"type": "error", "error": {"type": "not_found_error", "message": ""}})
            return
        token = self.upstream.mint.mint()
        life = {} if token.expires_at is None else {"expires_at": token.expires_at}
        self._json(HTTPStatus.OK, {"token": token.text} | life)

    def do_POST(self) -> None:
        """Answer a prompt, if its token is good."""
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
        key, authorization = self.headers.get("x-api-key", ""), self.headers.get("authorization", "")
        good = self.upstream.mint.accepts(key or authorization.removeprefix("Bearer "))
        status = HTTPStatus.OK if good else HTTPStatus(self.upstream.refusal)
        betas = self.headers.get("anthropic-beta", "")
        model = body.get("model", "")
        self.upstream.seen.append(Seen(time.time(), self.path, key, authorization, model, status, betas))
        if not good:
            kind, message = _ERRORS[self.upstream.refusal]
            self._json(status, {"type": "error", "error": {"type": kind, "message": message}})
        elif "count_tokens" in self.path:
            self._json(status, {"input_tokens": 1})
        elif body.get("stream"):
            self._answer(status, b"".join(map(_event, stream(body))), "text/event-stream")
        else:
            self._json(status, _message(body) | {"content": [_block(body)], "stop_reason": "end_turn"})

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is the base class's
        """Keep the test's output quiet."""

    def _json(self, status: HTTPStatus, body: dict[str, Any]) -> None:
        self._answer(status, json.dumps(body).encode(), "application/json")

    def _answer(self, status: HTTPStatus, body: bytes, content_type: str = "text/plain") -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _message(body: dict[str, Any]) -> dict[str, Any]:
    usage = {"input_tokens": 1, "output_tokens": 1}
    head = {"id": f"msg_{uuid.uuid4().hex}", "type": "message", "role": "assistant", "model": body.get("model", "")}
    return head | {"content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}


def _block(body: dict[str, Any]) -> dict[str, Any]:
    """Choose the answer by the last thing said: a tool's call for `run: COMMAND`, else the pong."""
    said = _last_text(body)
    if said.startswith(TOOL_PREFIX):
        command = said.removeprefix(TOOL_PREFIX)
        return {
            "type": "tool_use",
            "id": f"toolu_{uuid.uuid4().hex}",
            "name": "Bash",
            "input": {"command": command, "description": "x"},
        }
    return {"type": "text", "text": ANSWER}


def _last_text(body: dict[str, Any]) -> str:
    said = [message["content"] for message in body.get("messages", []) if message["role"] == "user"]
    content = said[-1] if said else ""
    if isinstance(content, str):
        return content
    texts = [part["text"] for part in content if part.get("type") == "text"]
    return next((text for text in texts if text.startswith(TOOL_PREFIX)), "")


def stream(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Give the events of the messages API that answer this request."""
    block = _block(body)
    if block["type"] == "tool_use":
        empty, reason = block | {"input": {}}, "tool_use"
        delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
    else:
        empty, reason = block | {"text": ""}, "end_turn"
        delta = {"type": "text_delta", "text": block["text"]}
    yield {"type": "message_start", "message": _message(body)}
    yield {"type": "content_block_start", "index": 0, "content_block": empty}
    yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    stop = {"stop_reason": reason, "stop_sequence": None}
    yield {"type": "message_delta", "delta": stop, "usage": {"output_tokens": 1}}
    yield {"type": "message_stop"}


def _event(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
