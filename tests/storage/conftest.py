"""Fixtures of the store's tests: a folder, and a store in it for each home of the key."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from broker import os_keyring
from broker.secret import Secret
from broker.storage import disk, loading, writing
from broker.storage import store as store_module
from broker.storage.header import Cost
from broker.storage.store import EncryptedStore
from tests.fakes.handed_key import hand_key
from tests.fakes.keyring import FakeKeyring

PASSPHRASE = "fake-passphrase"


@dataclass
class Shop:
    """Opens stores in `folder`, with the key in one kind of home."""

    folder: Path
    persist: str

    @property
    def file(self) -> Path:
        """The file they write."""
        return self.folder / disk.NAME

    def content(self) -> bytes:
        """Return what is in it; nothing where there is none."""
        return self.file.read_bytes() if self.file.exists() else b""

    async def open(self) -> EncryptedStore:
        """Open it as a daemon does, and unlock it where that takes a person."""
        store = EncryptedStore(self.folder, self.persist)
        await store.open()
        if self.persist == "passphrase":
            await store.unlock(Secret(PASSPHRASE))
        return store

    def set_aside(self) -> list[str]:
        """Name the files that were set aside."""
        return sorted(path.name for path in self.folder.glob(f"{disk.SET_ASIDE}*"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A state folder."""
    made = tmp_path / "state"
    made.mkdir(mode=0o700)
    return made


@pytest.fixture
def fake_keyring(monkeypatch: pytest.MonkeyPatch) -> FakeKeyring:
    """An empty, unlocked keyring."""
    keyring = FakeKeyring()
    monkeypatch.setattr(os_keyring, "ask", keyring.ask)
    return keyring


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the service manager hands over: a folder with a key in it."""
    for name, path in hand_key(tmp_path).items():
        monkeypatch.setenv(name, path)
    return tmp_path / "credentials"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for nothing long: what is due in a second is due at once, and a passphrase is stretched a little only."""
    monkeypatch.setattr(store_module, "KEEP_WITHIN_S", 0.01)
    monkeypatch.setattr(writing, "COUNT_WITHIN_S", 0.01)
    monkeypatch.setattr(loading, "Cost", lambda: Cost(log_n=14))


@pytest.fixture
def in_keyring(folder: Path, fake_keyring: FakeKeyring) -> Shop:
    """Stores with the key in a keyring."""
    return Shop(folder, "keyring")


@pytest.fixture
def in_systemd(folder: Path, credentials: Path) -> Shop:
    """Stores with the key in a credential of the service manager's."""
    return Shop(folder, "systemd")


@pytest.fixture
def in_passphrase(folder: Path) -> Shop:
    """Stores with the key in a person's head."""
    return Shop(folder, "passphrase")


@pytest.fixture(params=["keyring", "systemd", "passphrase"])
def shop(request: pytest.FixtureRequest) -> Shop:
    """Every kind of home, one after the other."""
    found: Shop = request.getfixturevalue(f"in_{request.param}")
    return found
