"""A fake Vault server, and a source at it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.contracts.source_contract import VALUE
from tests.fakes.vault import FakeVault, fake_vault
from tests.sources.vault.place import Place


@pytest.fixture
def vault() -> Iterator[FakeVault]:
    """Give a server with one secret."""
    with fake_vault() as vault:
        vault.kv["claude"] = {"key": VALUE}
        yield vault


@pytest.fixture
async def place(vault: FakeVault) -> AsyncIterator[Place]:
    """Give a source at it."""
    place = Place(vault)
    yield place
    vault.gate.set()
    await place.source.close()
