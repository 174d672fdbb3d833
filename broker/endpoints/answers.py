"""What is answered, before it is written out: by aiohttp, or to a helper by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from broker.errors import BrokerError

TEXT: Final = "text/plain; charset=utf-8"
JSON: Final = "application/json; charset=utf-8"

BUG: Final = "internal error; please report it, with the daemon's log"
"""All that anybody is told of one: its details may be secret."""

_NO_STORE: Final = {"Cache-Control": "no-store"}


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; `headers` without those that say how long it is."""

    body: bytes
    headers: Mapping[str, str]
    status: int = 200


def private(text: str, content_type: str, headers: Mapping[str, str]) -> Answer:
    """Answer with a secret, which nobody on the way may keep."""
    return Answer(text.encode(), {"Content-Type": content_type, **headers, **_NO_STORE})


def of_error(error: BrokerError, *, status: int | None = None, as_json: bool = False) -> Answer:
    """Tell an error, with its own HTTP status where no other is given."""
    message = one_line(str(error))
    body = json.dumps({"error": {"code": error.code, "message": message}}) if as_json else f"{message}\n"
    headers = {"Content-Type": JSON if as_json else TEXT, "X-Broker-Error": error.code, **_NO_STORE}
    return Answer(body.encode(), headers, status or error.http_status)


def one_line(text: str) -> str:
    """Make it one line for a terminal: a name that somebody asks for could tell that what to do."""
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
