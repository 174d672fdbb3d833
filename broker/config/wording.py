"""How problems are worded. Nothing here ever quotes a value: one in the wrong place may be a secret."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Final

_SAFE_KEY: Final = re.compile(r"[A-Za-z0-9._-]{1,40}", re.ASCII)

_SECRET_KEY: Final = re.compile(
    r"(api|access|auth|secret|private|bearer|client|session)?[_-]?(key|token|secret|passw(or)?d|passphrase|pwd)s?|credentials?",
    re.ASCII | re.IGNORECASE,
)

_TYPE_NAMES: Final = {
    bool: "a boolean",
    int: "an integer",
    float: "a decimal number",
    str: "text",
    list: "a list",
    dict: "a table",
}

KEEP_SECRETS_OUT: Final = (
    "a secret is never text in the config; name where it lives: a credential with"
    ' source = "local" (store it by: broker secret set NAME), "keyring", "env", "file" or "command"'
)

A_REFERENCE: Final = (
    'a table that says where the secret lives, such as { keyring = "SERVICE/USERNAME" }, { file = "PATH" }'
    ' or { local = "NAME" }'
)

NAME_ITS_PLACE: Final = (
    "a secret is never text in the config; store it by: broker secret set NAME"
    ' and write { local = "NAME" } here, or { keyring = "SERVICE/USERNAME" }, { env = "NAME" }, { file = "PATH" },'
    ' { command = ["PROGRAM", "ARGUMENT"] } or { credential = "NAME" }'
)


class Problem(ValueError):
    """What is wrong with one value; the place is added by whoever knows it."""


def wrong_type(expected: str, value: object) -> Problem:
    """Say what was expected, and of the value only its type."""
    return Problem(f"expected {expected}, found {type_name(value)}")


def type_name(value: object) -> str:
    """Name a TOML value's type."""
    return _TYPE_NAMES.get(type(value), "a date or time")


def one_of(names: Iterable[str]) -> str:
    """List what is possible."""
    return ", ".join(f'"{name}"' for name in names)


def near(name: str, known: Iterable[str]) -> str:
    """Suggest the known name that was probably meant, as the end of a message; empty where none is near."""
    found = difflib.get_close_matches(name[:100], list(known), n=1)
    return f"; did you mean '{found[0]}'?" if found else ""


def not_one_of(value: str, known: Sequence[str]) -> Problem:
    """Reject a text that is none of a few words, with the near miss."""
    return Problem(f"expected one of {one_of(known)}{near(value, known)}")


def holds_secret(key: str) -> bool:
    """Whether a key sounds as if its value were a secret."""
    return _SECRET_KEY.fullmatch(key) is not None


def unknown_key(key: str, known: Iterable[str]) -> str:
    """Reject a key; one that sounds like a secret's gets told where secrets belong."""
    if holds_secret(key):
        return f"unknown key; {KEEP_SECRETS_OUT}"
    known = list(known)
    return "unknown key" + (near(key, known) or f"; known are {', '.join(sorted(known)) or 'none'}")


def place(*keys: str) -> str:
    """Join keys to a path; what is no plain name is not repeated (control characters; a secret as a key)."""
    return ".".join(key if _SAFE_KEY.fullmatch(key) else "(odd key)" for key in keys)
