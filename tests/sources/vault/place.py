"""A `vault` source at the fake server, for the tests of one."""

from __future__ import annotations

from typing import Any

from broker.secret import Secret
from broker.sources.references import Reference
from broker.sources.vault.auth import AppRole
from broker.sources.vault.settings import VaultSettings, VaultSourceSettings
from broker.sources.vault.source import VaultFetcher, VaultSource
from tests.fakes.context import FakeContext
from tests.fakes.vault import FakeVault

SECRET_ID = "fake-secret-id"


class Place:
    """A source, and its fetchers; it signs in by AppRole if nothing else is said."""

    def __init__(self, vault: FakeVault, **settings: Any) -> None:  # noqa: ANN401  # any setting
        self.vault = vault
        self.context: FakeContext = settings.pop("context", None) or FakeContext()
        self.context.secrets.records["secret-id"] = Secret(SECRET_ID)
        auth = settings.pop("auth", AppRole("fake-role", Reference(local="secret-id")))
        self.source = VaultSource(VaultSourceSettings(vault.address, auth=auth, **settings), self.context)

    def fetcher(self, path: str, **settings: Any) -> VaultFetcher:  # noqa: ANN401  # any setting
        """Bind one path."""
        made = self.source.fetcher(VaultSettings(path, **settings), "work")
        assert isinstance(made, VaultFetcher)
        return made
