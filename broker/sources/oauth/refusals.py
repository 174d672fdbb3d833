"""The provider's refusals that we act upon."""

from __future__ import annotations

from broker.errors import PermanentFetchError


class ProviderRefused(PermanentFetchError):
    """An OAuth error answer (RFC 6749, 5.2); `error` is its code."""

    def __init__(self, message: str, error: str) -> None:
        super().__init__(message)
        self.error = error


class NotThere(PermanentFetchError):
    """404: nothing is at this address."""
