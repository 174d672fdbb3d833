"""Fuzz targets: what a helper's headers tell, and the file of what a person allowed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote_to_bytes

from broker.endpoints.control.surroundings import told
from broker.errors import BadRequest
from broker.storage import pins
from tests.fuzz.target import one_line, pure

PLANTED: Final = "fake-planted-secret-5a0c"

HEADERS: Final = (
    b"/home/me/project\nANTHROPIC_BASE_URL=https%3A//a.example&CLAUDECODE=1",
    b"\n",
    b"/%C3%A9%FF/a%20b%0A\nCLAUDE_CODE_USE_BEDROCK=&CLAUDE_CODE_USE_X_KEY&CLAUDE_CONFIG_DIR=%2F",
    b"%FF" * 4096 + b"\n" + b"&".join([b"ANTHROPIC_%d_URL=%%0A" % number for number in range(700)]),
    b"/\nCLAUDECODE=1&CLAUDECODE=2&CLAUDECODE",
    f"/\nANTHROPIC_BASE_URL=http%3A//{PLANTED}%40x".encode(),
)
"""`X-Broker-Cwd`, an end of line, `X-Broker-Env`."""

PINS: Final = (
    b'{"version": 1, "allowed": []}',
    b'{"version": 1, "allowed": [{"path": "/p/.claude/settings.json", "sha256": "' + b"0" * 64 + b'"}]}',
    b'{"version": 2, "allowed": []}',
    b'{"version": 1, "allowed": [{"path": 1, "sha256": null}, [], "x"]}',
    b"[]",
)


def check_headers(content: bytes) -> None:
    """Read as the helper meant it, or refused without quoting it."""
    folder, _, variables = content.decode(errors="surrogateescape").partition("\n")
    try:
        read = told({"X-Broker-Cwd": folder, "X-Broker-Env": variables})
    except BadRequest as error:
        one_line(str(error), PLANTED)
    else:
        assert read is not None
        assert read.folder == os.fsdecode(unquote_to_bytes(folder))
        assert dict(read.variables) == meant(variables)


def meant(variables: str) -> Mapping[str, str | None]:
    """Read the variables a second time, more simply."""
    found: dict[str, set[str | None]] = {}
    for pair in variables.split("&"):
        name, *value = [os.fsdecode(unquote_to_bytes(part)) for part in pair.split("=", 1)]
        if pair:
            found.setdefault(name, set()).add(value[0] if value else None)
    return {name: values.pop() if len(values) == 1 else None for name, values in found.items()}


def check_pins(content: bytes) -> None:
    """Pins, or a reason; never a file of one's own choice without a hash."""
    try:
        read = pins.parse(content)
    except pins.NotPins as reason:
        one_line(str(reason))
    else:
        assert all(isinstance(path, str) and len(sha256) == 64 for path, sha256 in read)


TOLD: Final = pure("headers", "read as the helper meant it, or refused unquoted", HEADERS, check_headers, 2000)
ALLOWED: Final = pure("pins", "pins with their hashes, or a reason", PINS, check_pins, 2000)
