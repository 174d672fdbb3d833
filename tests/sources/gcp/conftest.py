"""A fake Google for the tests of the `gcp` source."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.sources.gcp import adc
from tests.fakes.google import FakeGoogle, fake_google


@pytest.fixture(scope="module")
def server() -> Iterator[FakeGoogle]:
    """Run one Google for all."""
    with fake_google() as google:
        yield google


@pytest.fixture
def google(server: FakeGoogle) -> FakeGoogle:
    """Give it as new."""
    fresh = FakeGoogle(address=server.address, gate=server.gate)
    fresh.gate.set()
    server.__dict__.update(fresh.__dict__)
    return server


@pytest.fixture
def no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let no credentials of this machine's be found; give gcloud's folder."""
    for name in (adc.VARIABLE, "GCE_METADATA_HOST", "GCE_METADATA_ROOT", "NO_GCE_CHECK", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    return tmp_path
