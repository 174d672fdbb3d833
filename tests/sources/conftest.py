"""What the tests of every source share: the libraries are there before any call is timed."""

from __future__ import annotations

import importlib

import pytest


@pytest.fixture(scope="session", autouse=True)
def _loaded() -> None:
    """Load what sources load at their first call: its time-out counts that too, and some tests make it tiny."""
    for name in ("authlib.integrations.requests_client", "google.auth.transport.requests", "hvac", "requests"):
        importlib.import_module(name)
