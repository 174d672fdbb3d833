"""A fake provider that has everything a sign-in needs, and sources at it that a person signs in to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from broker.sources.oauth import flight
from tests.fakes.oauth import FakeProvider
from tests.sources.oauth.place import opening
from tests.sources.oauth.sign_in.place import Account, Courier

Sources = Callable[..., Account]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a state folder, and a courier in this process."""
    monkeypatch.setenv("BROKER_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr(flight, "_courier", Courier)
    return tmp_path / "state"


@pytest.fixture
def idp(idp: FakeProvider, state: Path) -> FakeProvider:
    """Give a provider that has everything."""
    idp.extra["expires_in"] = 3600
    idp.metadata = {
        "issuer": idp.address,
        "token_endpoint": f"{idp.address}/token",
        "device_authorization_endpoint": f"{idp.address}/device",
        "authorization_endpoint": f"{idp.address}/authorize?tenant=1",
        "revocation_endpoint": f"{idp.address}/revoke",
        "scopes_supported": ["openid", "offline_access"],
    }
    return idp


@pytest.fixture
async def sources(idp: FakeProvider) -> AsyncIterator[Sources]:
    """Give `sources(key=...)`, which sets up a source at it."""
    async with opening(idp, Account) as sources:
        yield sources
