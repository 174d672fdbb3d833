"""`vault`: HashiCorp Vault and OpenBao. One login a source, leases renewed and given back."""

from __future__ import annotations

from typing import Final

from broker.sources.interface import Context, SourceType
from broker.sources.vault.settings import VaultSettings, VaultSourceSettings
from broker.sources.vault.source import VaultSource

_MAX_AGE_S: Final = 300.0
"""KV has no lease: how long until a new version is noticed."""


def _open(settings: VaultSourceSettings, context: Context) -> VaultSource:
    made = VaultSource(settings, context)
    made.session.connection.warm()  # else the first who asks waits for hvac to load
    return made


VAULT: Final = SourceType("vault", VaultSourceSettings, VaultSettings, _open, max_age_s=_MAX_AGE_S)

__all__ = ["VAULT"]
