"""The refusals that we act upon."""

from __future__ import annotations

from broker.errors import PermanentFetchError


class KeysRefused(PermanentFetchError):
    """The keys that signed are expired, unknown or revoked: others may do."""
