"""A secret that cannot be shown by accident."""

from __future__ import annotations

import hmac
import unicodedata
from collections.abc import Iterable
from typing import Final, NoReturn

MAX_LENGTH: Final = 16_384
"""Longest token handed out, in characters: Claude Code refuses longer ones (from 2.1.227)."""

FINGERPRINT_DIGITS: Final = 12

_SCRUB_AT_LEAST: Final = 4
"""Shorter values are too common in ordinary text to be scrubbed from it."""

_NOT_TEXT: Final = frozenset({"Cc", "Cs"})
"""Unicode's categories of what no password holds: control characters, and halves of characters."""


class Secret:
    """Wraps a secret text: repr, str, formatting, logging, JSON and pickling never show it.

    `reveal()` is the only way out, and easy to grep for.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the secret itself; every call of this is a place where it could leak."""
        return self._text

    def fingerprint(self, key: bytes) -> str:
        """Name this secret without showing it: the first 12 hex digits of HMAC-SHA256(key, secret)."""
        return hmac.new(key, self._text.encode(), "sha256").hexdigest()[:FINGERPRINT_DIGITS]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    __hash__ = None  # type: ignore[assignment]  # hashing would put it into tables, unsalted

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __format__(self, _spec: str) -> str:
        return repr(self)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled or copied out of the process")


def scrub(text: str, secrets: Iterable[Secret]) -> str:
    """Replace every known secret in `text`: what a source says of its failure may quote what we sent it."""
    for secret in secrets:
        plain = secret.reveal()
        for form in (plain, " ".join(plain.split())):  # as it is, and in a line whose blanks were made single ones
            if len(form) >= _SCRUB_AT_LEAST:
                text = text.replace(form, "***")
    return text


def is_servable(text: str) -> bool:
    """Whether Claude Code would take this as a key: printable ASCII without blanks, of at most `MAX_LENGTH`."""
    return 0 < len(text) <= MAX_LENGTH and text.isascii() and text.isprintable() and " " not in text


def flaw(text: str) -> str | None:
    """Say why Claude Code would not take this as a key, without quoting it; None where it would."""
    if is_servable(text):
        return None
    if not text:
        return "is empty"
    if len(text) > MAX_LENGTH:
        return f"is {len(text) - MAX_LENGTH} characters longer than the {MAX_LENGTH} that Claude Code takes"
    if not text.isascii():
        return "has characters outside ASCII"
    return "has blanks, line ends or control characters in it"


def flaw_of_text(text: str) -> str | None:
    """Say why this is not even a password or the like, which need not be a key, without quoting it; None where it is."""
    if not text:
        return "is empty"
    if any(unicodedata.category(char) in _NOT_TEXT for char in text):
        return "has line ends or control characters in it"
    if len(text.encode()) > MAX_LENGTH:
        return f"is longer than {MAX_LENGTH} bytes"
    return None
