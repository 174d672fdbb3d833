"""The refusals of the server that we act upon."""

from __future__ import annotations

from broker.errors import PermanentFetchError


class Denied(PermanentFetchError):
    """403: no permission, or the token is no longer good."""


class NotFound(PermanentFetchError):
    """404. `body` is what the server said all the same."""

    def __init__(self, message: str, body: object = None) -> None:
        super().__init__(message)
        self.body = body


class BadInput(PermanentFetchError):
    """400 or 405."""
