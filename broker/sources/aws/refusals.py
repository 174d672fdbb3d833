"""The refusals that we act upon."""

from __future__ import annotations

from broker.errors import PermanentFetchError


class KeysRefused(PermanentFetchError):
    """The keys that signed are expired, unknown or revoked: others may do."""


class TokenRefused(PermanentFetchError):
    """The portal of IAM Identity Center takes this access token no more: another may do, or a new sign-in."""
