"""An HTTP answer written out by hand, the only or last one of its connection (RFC 9112)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus


def last_answer(status: int, headers: Mapping[str, str], body: bytes) -> bytes:
    """Write the answer; `headers` are ours alone, no text of anybody else's."""
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        *(f"{name}: {value}" for name, value in headers.items()),
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    return "\r\n".join([*lines, "\r\n"]).encode() + body
