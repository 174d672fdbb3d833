"""The dry fetch where no daemon runs, and what is stored, read without touching it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from broker import config, os_keyring
from broker.client import Client
from broker.doctor.stored import Stored, look
from broker.doctor.trial import Tried, directly, through_daemon
from broker.errors import TransientFetchError
from broker.model import Issued
from broker.secret import Secret
from broker.sources import TYPES
from broker.sources.interface import Context, NoSettings, SourceType
from broker.storage.homes.interface import Absent, NeedsPassphrase, Unreachable
from broker.storage.interface import SECRETS
from broker.storage.store import EncryptedStore
from tests.doctor.conftest import Patient
from tests.fakes.control import credential_status


class Needy:
    """A source whose every token is another credential's."""

    timeout_s = 5.0

    def __init__(self, context: Context) -> None:
        self.context = context

    def fetcher(self, _settings: object, _credential: str) -> Needy:
        """Bind nothing."""
        return self

    async def fetch(self) -> Issued:
        """Hand the other one's token on."""
        return Issued.token((await self.context.token("other")).reveal())

    def changed(self) -> bool:
        """Tell nothing."""
        return False

    async def close(self) -> None:
        """Give nothing back."""


NEEDY = SourceType("needy", NoSettings, NoSettings, lambda _settings, context: Needy(context))


def tried(patient: Patient, text: str, stored: Stored | None = None) -> dict[str, Tried]:
    """Try a config's credentials."""
    patient.configure(text)
    return directly(config.read(patient.config, TYPES, patient.env), stored or Stored("off"), 5.0)


def test_a_source_is_opened_and_its_tokens_life_is_learnt(patient: Patient) -> None:
    """Also of a token without an end."""
    found = tried(
        patient,
        '[credentials.a]\nsource = "demo"\nlifetime = "10m"\n'
        '[credentials.b]\nsource = "command"\nargv = ["/bin/echo", "fake-token-1"]\n',
    )
    assert found["a"].state == found["b"].state == "fresh"
    assert 590 < (found["a"].lifetime_s or 0) <= 600
    assert found["b"].lifetime_s is None


def test_a_failing_source_says_why(patient: Patient) -> None:
    """In the words that the daemon would use."""
    found = tried(patient, '[credentials.a]\nsource = "env"\nname = "NOT_SET_HERE"\n')
    assert found["a"].state == "failing"
    assert "NOT_SET_HERE is not set" in found["a"].problem


def test_a_token_that_is_dead_on_arrival_is_no_token(patient: Patient) -> None:
    """The source answers, and yet nobody could use it."""
    argv = '["/bin/echo", "{\\"token\\": \\"fake-token-1\\", \\"expires_at\\": 1}"]'
    found = tried(patient, f'[credentials.a]\nsource = "command"\nargv = {argv}\n')
    assert found["a"].state in {"expired", "failing"}


def test_a_source_that_needs_another_credential_gets_it(patient: Patient) -> None:
    """Within this process, as the daemon would; and where that one fails, both do."""
    needs = '[sources.a]\ntype = "needy"\n[credentials.a]\nsource = "a"\n'
    patient.patch.setitem(TYPES, "needy", NEEDY)
    found = tried(patient, needs + '[credentials.other]\nsource = "demo"\n')
    assert found["a"].state == found["other"].state == "fresh"
    found = tried(patient, needs + '[credentials.other]\nsource = "env"\nname = "NOT_SET_HERE"\n')
    assert "NOT_SET_HERE" in found["a"].problem


def test_a_daemon_that_is_slow_to_refresh_is_not_waited_for(patient: Patient) -> None:
    """One that cannot be asked at all is told of like one that fails."""
    status = {"credentials": [credential_status("a", state="empty"), credential_status("b")]}
    patient.script.errors["/v1/refresh"] = (423, "locked", "the broker is locked; run: broker unlock")
    client = Client(patient.socket)
    found = through_daemon(client, status, 5.0)
    assert found["a"].problem == "the broker is locked; run: broker unlock"
    assert found["b"].state == "fresh"
    patient.stop()
    assert through_daemon(client, status, 5.0)["a"].problem == "the source did not answer within 5 s"


def test_what_is_stored_is_found(patient: Patient) -> None:
    """And what is not is told with the command that stores it."""
    stored = Stored("keyring", exists=True, records={f"{SECRETS}here": Secret("fake-token-1")})
    found = tried(patient, '[credentials.here]\nsource = "local"\n[credentials.gone]\nsource = "local"\n', stored)
    assert found["here"].state == "fresh"
    assert "broker secret set gone" in found["gone"].problem


def test_a_store_that_cannot_be_read_is_no_empty_one(patient: Patient) -> None:
    """Nobody is told to store again what is there."""
    stored = Stored("passphrase", exists=True, trouble=NeedsPassphrase("the passphrase is needed; run: broker unlock"))
    found = tried(patient, '[credentials.here]\nsource = "local"\n', stored)
    assert "broker unlock" in found["here"].problem


def test_the_doctor_stores_and_removes_nothing() -> None:
    """Whatever a source may wish."""
    with pytest.raises(TransientFetchError):
        asyncio.run(Stored("off").put("a", Secret("fake-token-1")))
    with pytest.raises(TransientFetchError):
        asyncio.run(Stored("off").delete("a"))


# --- the store, read without touching it -------------------------------------------------------------------------


class Keyring:
    """Answers for `os_keyring.ask`, and counts as the system's keyring."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], Secret] = {}
        self.trouble: os_keyring.KeyringTrouble | None = None

    def ask(
        self, requests: list[os_keyring.Request], _timeout_s: float, *, only_protected: bool = False
    ) -> list[Secret | None]:
        """Do as the real one."""
        assert only_protected, "the key's home must not be a mere file"
        if self.trouble is not None:
            raise self.trouble
        return [self._one(*request) for request in requests]

    def _one(self, verb: str, service: str, username: str, value: str = "") -> Secret | None:
        if verb == "set" or (verb == "add" and (service, username) not in self.entries):
            self.entries[service, username] = Secret(value)
        return self.entries.get((service, username))


@pytest.fixture
def keyring(monkeypatch: pytest.MonkeyPatch) -> Keyring:
    """Put a keyring in the place of the system's."""
    made = Keyring()
    monkeypatch.setattr(os_keyring, "ask", made.ask)
    return made


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Give a state folder."""
    tmp_path.chmod(0o700)
    return tmp_path


def fill(folder: Path, persist: str, passphrase: Secret | None = None) -> None:
    """Make a store with one secret in it."""

    async def work() -> None:
        store = EncryptedStore(folder, persist)
        await store.open()
        if passphrase is not None:
            await store.unlock(passphrase)
        await store.put(f"{SECRETS}work", Secret("fake-token-1"))
        await store.close()

    asyncio.run(work())


def test_a_sound_store_is_read(keyring: Keyring, state: Path) -> None:
    """With the key from its home."""
    fill(state, "keyring")
    stored = look(state, "auto", {})
    assert stored.trouble is None
    assert stored.get("work") == Secret("fake-token-1")
    assert stored.home == "keyring"


def test_looking_makes_no_key(keyring: Keyring, state: Path) -> None:
    """Neither where there is no store yet, nor in the place of one that is lost."""
    assert look(state, "auto", {}).trouble is None
    assert keyring.entries == {}
    fill(state, "keyring")
    keyring.entries.clear()
    stored = look(state, "auto", {})
    assert isinstance(stored.trouble, Unreachable)
    assert "claude-credential-broker/cache-key" in str(stored.trouble)
    assert keyring.entries == {}


def test_a_keyring_that_is_away_or_silent_is_told_apart(keyring: Keyring, state: Path) -> None:
    """The one is installed, the other unlocked."""
    keyring.trouble = os_keyring.NoKeyring("none")
    assert isinstance(look(state, "auto", {}).trouble, Absent)
    keyring.trouble = os_keyring.KeyringLocked("locked")
    assert isinstance(look(state, "auto", {}).trouble, Unreachable)


@pytest.mark.slow
def test_a_passphrase_is_not_asked_for(state: Path) -> None:
    """The store is there, and stays closed."""
    fill(state, "passphrase", Secret("a fake passphrase"))
    stored = look(state, "passphrase", {})
    assert isinstance(stored.trouble, NeedsPassphrase)
    assert stored.exists


def test_a_damaged_store_stays_where_it_is(keyring: Keyring, state: Path) -> None:
    """The daemon sets it aside, the doctor only says so."""
    fill(state, "keyring")
    path = state / "cache.bin"
    data = bytearray(path.read_bytes())
    data[-40] ^= 1
    path.write_bytes(data)
    assert look(state, "auto", {}).trouble is not None
    assert path.read_bytes() == bytes(data)
