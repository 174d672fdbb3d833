"""The `gcp` source keeps the contract of all sources, at a fake Google (tests/fakes/google.py)."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest

from tests.contracts.source_contract import (
    VALUE,
    AnySource,
    Harness,
    SourceOfValues,
    SourceThatFails,
    SourceThatWaits,
    token_of,
)
from tests.fakes.google import FakeGoogle
from tests.sources.gcp.place import Place

SECRET = "projects/corp-project/secrets/claude"


class _TokenHarness(Harness):
    """Makes the token endpoint hang or fail."""

    def __init__(self, place: Place) -> None:
        self._google = place.google
        self._fetcher = place.fetcher()

    def fetcher(self) -> Any:  # noqa: ANN401  # a fetcher
        return self._fetcher

    def hang(self) -> None:
        self._google.gate.clear()

    def release(self) -> None:
        self._google.gate.set()

    def fail(self, saying: str) -> None:
        self._google.answer = lambda _method, _path: (400, {"error": "invalid_grant", "error_description": saying})


class TestAccessToken(SourceThatWaits, SourceThatFails, AnySource):
    """A service account's access tokens keep the contract."""

    @pytest.fixture
    def harness(self, google: FakeGoogle) -> Harness:
        """Give a service account."""
        return _TokenHarness(Place(google))


class _SecretHarness(_TokenHarness):
    """Writes the secret."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._fetcher = place.fetcher(kind="secret", secret="claude")

    def give(self, text: str) -> None:
        self._google.secrets.setdefault(SECRET, []).append(text.encode())

    def remove(self) -> None:
        self._google.secrets.clear()

    def fail(self, saying: str) -> None:
        self._google.answer = lambda _method, path: (
            (403, {"error": {"message": saying, "status": "PERMISSION_DENIED"}}) if "secrets" in path else None
        )


class TestSecret(SourceOfValues, SourceThatFails):
    """So do Secret Manager's secrets."""

    @pytest.fixture
    def harness(self, google: FakeGoogle) -> Harness:
        """Give a secret."""
        google.secrets[SECRET] = [VALUE.encode()]
        return _SecretHarness(Place(google))


@pytest.mark.slow
def test_a_daemon_that_serves_no_google_credential_does_not_load_the_library() -> None:
    """One that serves another source loads and opens what it needs and no more; a Google source loads it at once."""
    code = """
import asyncio, sys, time
from pathlib import Path
import broker.daemon.serving
from broker.config import parse
from broker.sources import TYPES
from tests.fakes.context import FakeContext
def loaded(text):
    for source in parse(text, Path("/x"), TYPES, {}).sources.values():
        source.type.open(source.settings, FakeContext())
    return "google.auth" in sys.modules
assert not loaded('[credentials.a]\\nsource = "env"\\nname = "A"\\n')
loaded('[credentials.a]\\nsource = "gcp"\\n')
end = time.monotonic() + 60
while "google.auth" not in sys.modules and time.monotonic() < end: time.sleep(0.01)
assert "google.auth" in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


async def test_many_fetches_at_once_do_not_disturb_each_other(google: FakeGoogle) -> None:
    """Each credential has a thread of its own."""
    place = Place(google)
    issued = await asyncio.gather(*(place.fetcher().fetch() for _ in range(20)))
    assert len({token_of(one) for one in issued}) == 20
