"""`vault`: HashiCorp Vault and OpenBao. One login a source, leases renewed and given back (FACTS, "Vault")."""

from __future__ import annotations

from typing import Final

from broker.sources.interface import SourceType
from broker.sources.vault.settings import VaultSettings, VaultSourceSettings
from broker.sources.vault.source import VaultSource

_MAX_AGE_S: Final = 300.0
"""KV has no lease: how long until a new version is noticed."""

VAULT: Final = SourceType("vault", VaultSourceSettings, VaultSettings, VaultSource, max_age_s=_MAX_AGE_S)

__all__ = ["VAULT"]
