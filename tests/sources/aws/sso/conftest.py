"""A fake Identity Center, and sources at it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.fakes.sso import FakeSso, fake_sso
from tests.sources.aws.sso.place import Place


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a home of its own, and nothing of AWS's in the environment."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def sso(home: Path) -> Iterator[FakeSso]:
    """Give an Identity Center whose person confirms what is asked."""
    with fake_sso() as made:
        made.confirmed = True
        yield made


@pytest.fixture
async def place(sso: FakeSso) -> AsyncIterator[Place]:
    """Give a place for sources."""
    made = Place(sso)
    yield made
    sso.gate.set()
    for source in made.sources:
        await source.close()
