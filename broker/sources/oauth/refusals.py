"""The provider's refusals that we act upon."""

from __future__ import annotations

from broker.errors import PermanentFetchError


class ErrorAnswer(Exception):
    """An OAuth error answer as it came (RFC 6749, 5.2), whatever its fields are.

    The library's own is for servers: it takes no quotes and umlauts in a description.
    """

    def __init__(self, error: object, description: object = None) -> None:
        super().__init__()
        self.error = error
        self.description = description


class ProviderRefused(PermanentFetchError):
    """An OAuth error answer; `error` is its code."""

    def __init__(self, message: str, error: str) -> None:
        super().__init__(message)
        self.error = error


class NotThere(PermanentFetchError):
    """404: nothing is at this address."""
