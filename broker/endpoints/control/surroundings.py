"""What a helper's headers say of its surroundings (`X-Broker-Cwd` and `X-Broker-Env`): bytes to `Told`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_to_bytes

from broker.engine.policy import Told
from broker.errors import BadRequest

_FOLDER: Final = "X-Broker-Cwd"
_VARIABLES: Final = "X-Broker-Env"
_ENCODED: Final = re.compile(r"(?:[A-Za-z0-9._~/=&-]|%[0-9A-Fa-f]{2})*", re.ASCII)


def told(headers: Mapping[str, str]) -> Told | None:
    """Read what a helper tells; None for a caller that is none. Raises `BadRequest`."""
    return read(headers.get(_FOLDER), headers.get(_VARIABLES))


def read(folder: str | None, variables: str | None) -> Told | None:
    """Read both headers' values; None where it is neither. Raises `BadRequest`."""
    return None if folder is None and variables is None else _told(folder, variables or "")


@lru_cache(maxsize=256)  # a session's helpers all say the same
def _told(folder: str | None, variables: str) -> Told:
    found: dict[str, str | None] = {}
    for pair in filter(None, _checked(_VARIABLES, variables).split("&")):
        name, equals, value = pair.partition("=")
        text = _decoded(value) if equals else None
        if found.setdefault(_decoded(name), text) != text:
            found[_decoded(name)] = None  # twice, with two values: nobody can tell which one counts
    return Told(None if folder is None else _decoded(_checked(_FOLDER, folder)), tuple(found.items()))


def _checked(header: str, text: str) -> str:
    if not _ENCODED.fullmatch(text):
        raise BadRequest(f"{header}: expected percent-encoded text, as broker-helper sends it")
    return text


def _decoded(text: str) -> str:
    return os.fsdecode(unquote_to_bytes(text))
