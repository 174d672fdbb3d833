"""What the daemon, and a person with `broker secret`, can rely on of the encrypted store."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.errors import Locked, StorageError
from broker.os_keyring import NoKeyring
from broker.secret import Secret
from broker.storage import disk, limits, loading
from broker.storage import store as store_module
from broker.storage.header import NAME_MAX, VALUE_MAX
from broker.storage.homes import Homes
from broker.storage.homes.interface import Mark
from broker.storage.loading import Loaded
from broker.storage.store import EncryptedStore
from tests.fakes.keyring import FakeKeyring
from tests.storage.conftest import PASSPHRASE, Shop

ONE = Secret("fake-token-1")
TWO = Secret("fake-token-2")
PATIENCE_S = 10.0


async def eventually(holds: Callable[[], bool]) -> None:
    """Wait until it holds."""
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end
        await asyncio.sleep(0.002)


def in_folder(folder: Path) -> list[str]:
    """Name what is in it."""
    return sorted(path.name for path in folder.iterdir())


class SlowDisk:
    """Holds every write up while the gate is closed, and counts them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.begun = self.done = 0
        self._replace = disk.replace
        monkeypatch.setattr(disk, "replace", self.replace)

    def replace(self, folder: Path, data: bytes) -> None:
        """Stand in for `disk.replace`."""
        self.begun += 1
        assert self.gate.wait(PATIENCE_S)
        self._replace(folder, data)
        self.done += 1


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> SlowDisk:
    """Give a disk that can be held up."""
    return SlowDisk(monkeypatch)


# --- what is stored ---------------------------------------------------------------------------------------------


async def test_what_was_put_is_there_after_a_restart(shop: Shop) -> None:
    """Without any farewell: what `put` returned from survives a kill."""
    store = await shop.open()
    await store.put("secret/one", ONE)
    await store.put("secret/two", TWO)
    again = await shop.open()
    assert again.get("secret/one") == ONE
    assert again.names("secret/") == ["secret/one", "secret/two"]
    assert again.names("token/") == []
    assert (again.persist, again.locked, again.warnings) == (shop.persist, False, [])


async def test_what_was_deleted_stays_deleted(shop: Shop) -> None:
    """And one is told whether there was anything."""
    store = await shop.open()
    await store.put("secret/one", ONE)
    assert await store.delete("secret/one")
    assert not await store.delete("secret/one")
    assert store.get("secret/one") is None
    assert (await shop.open()).get("secret/one") is None


async def test_nothing_readable_is_on_the_disk(shop: Shop) -> None:
    """And what is there, nobody else may read."""
    store = await shop.open()
    await store.put("secret/one", ONE)
    assert b"fake-token" not in shop.file.read_bytes()
    assert in_folder(shop.folder) == [disk.NAME]
    assert shop.file.stat().st_mode & 0o777 == 0o600


async def test_a_kept_token_is_written_soon_by_itself(shop: Shop) -> None:
    """A restart within the next minute finds it, though nobody waited for it."""
    store = await shop.open()
    before = shop.content()
    store.keep("token/work", ONE)
    assert store.get("token/work") == ONE
    await eventually(lambda: shop.content() != before)
    assert (await shop.open()).get("token/work") == ONE


async def test_many_kept_tokens_are_one_write(in_systemd: Shop, slow_disk: SlowDisk) -> None:
    """A thousand credentials do not rewrite the file a thousand times."""
    store = await in_systemd.open()
    for number in range(1000):
        store.keep(f"token/{number}", ONE)
    await eventually(lambda: slow_disk.done > 0)
    await store.close()
    assert slow_disk.done <= 2
    assert len((await in_systemd.open()).names("token/")) == 1000


async def test_what_is_due_is_written_at_the_end(in_systemd: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that stops in order loses nothing, however young."""
    monkeypatch.setattr(store_module, "KEEP_WITHIN_S", 3600)
    store = await in_systemd.open()
    store.keep("token/work", ONE)
    await store.close()
    assert (await in_systemd.open()).get("token/work") == ONE


async def test_a_discarded_token_is_gone_at_once_and_on_disk_without_delay(
    in_systemd: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was refused: no later daemon may serve it, even if this one is killed in a moment."""
    store = await in_systemd.open()
    await store.put("token/work", ONE)
    before = in_systemd.content()
    monkeypatch.setattr(store_module, "KEEP_WITHIN_S", 3600)
    store.discard("token/work")
    assert store.get("token/work") is None
    await eventually(lambda: in_systemd.content() != before)
    assert (await in_systemd.open()).get("token/work") is None


async def test_what_is_kept_and_discarded_before_the_store_is_open_counts(in_systemd: Shop) -> None:
    """A daemon need not wait for a keyring with its first token."""
    store = await in_systemd.open()
    await store.put("token/old", ONE)
    store = EncryptedStore(in_systemd.folder, "systemd")
    store.keep("token/new", TWO)
    store.discard("token/old")
    await store.open()
    assert store.names("token/") == ["token/new"]
    await store.close()
    assert (await in_systemd.open()).names("token/") == ["token/new"]


async def test_nothing_is_said_of_records_before_the_store_is_open(in_systemd: Shop) -> None:
    """A secret that is not found yet is not missing."""
    store = EncryptedStore(in_systemd.folder, "systemd")
    for ask in (lambda: store.get("secret/one"), lambda: store.names("secret/")):
        with pytest.raises(Locked, match="still being opened"):
            ask()
    assert not store.locked


async def test_a_caller_that_leaves_does_not_split_memory_from_disk(in_systemd: Shop, slow_disk: SlowDisk) -> None:
    """The write is finished, and then both know of it."""
    store = await in_systemd.open()
    slow_disk.gate.clear()
    putting = asyncio.create_task(store.put("secret/one", ONE))
    await eventually(lambda: slow_disk.begun > 0)
    putting.cancel()
    await asyncio.wait({putting})
    assert putting.cancelled()
    assert store.get("secret/one") is None
    slow_disk.gate.set()
    await eventually(lambda: store.get("secret/one") == ONE)
    assert (await in_systemd.open()).get("secret/one") == ONE


async def test_what_is_kept_during_a_write_is_not_lost(in_systemd: Shop, slow_disk: SlowDisk) -> None:
    """It goes with the next one."""
    store = await in_systemd.open()
    slow_disk.gate.clear()
    putting = asyncio.create_task(store.put("secret/one", ONE))
    await eventually(lambda: slow_disk.begun > 0)
    store.keep("token/work", TWO)
    slow_disk.gate.set()
    await putting
    assert store.get("token/work") == TWO
    await store.close()
    assert (await in_systemd.open()).names("") == ["secret/one", "token/work"]


async def test_puts_at_the_same_time_are_all_stored(in_systemd: Shop) -> None:
    """None overwrites another's."""
    store = await in_systemd.open()
    await asyncio.gather(*(store.put(f"secret/{number}", ONE) for number in range(30)))
    assert len((await in_systemd.open()).names("secret/")) == 30


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("", "fake"),
        ("n" * (NAME_MAX + 1), "fake"),
        ("name", "x" * (VALUE_MAX + 1)),
        ("name", "\ud800"),
        ("\ud800", "fake"),
    ],
    ids=["no name", "long name", "long value", "value no text", "name no text"],
)
async def test_what_cannot_be_stored_is_refused_in_one_line(in_systemd: Shop, name: str, value: str) -> None:
    """Where nobody waits for it, it is simply not kept."""
    store = await in_systemd.open()
    with pytest.raises(StorageError) as refused:
        await store.put(name, Secret(value))
    assert len(str(refused.value).splitlines()) == 1
    store.keep(name, Secret(value))
    assert store.names("") == []


async def test_records_have_a_highest_number(in_systemd: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond it a person is told; replacing one still works."""
    monkeypatch.setattr(limits, "RECORDS_MAX", 1)
    store = await in_systemd.open()
    await store.put("secret/one", ONE)
    await store.put("secret/one", TWO)
    with pytest.raises(StorageError, match="delete some"):
        await store.put("secret/two", TWO)


async def test_the_largest_name_and_value_are_stored(in_systemd: Shop) -> None:
    """Limits are inclusive."""
    store = await in_systemd.open()
    await store.put("n" * NAME_MAX, Secret("v" * VALUE_MAX))
    assert (await in_systemd.open()).get("n" * NAME_MAX) == Secret("v" * VALUE_MAX)


# --- where no key has a home ------------------------------------------------------------------------------------


@pytest.mark.parametrize("persist", ["off", "auto"])
async def test_without_a_home_nothing_is_written(persist: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And whoever wants to store something reads what there is to choose from."""
    for name in ("CREDENTIALS_DIRECTORY", "DBUS_SESSION_BUS_ADDRESS", "PYTHON_KEYRING_BACKEND"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    store = EncryptedStore(folder, persist)
    await store.open()
    store.keep("token/work", ONE)
    store.discard("token/work")
    for change in (store.put("secret/one", ONE), store.delete("secret/one")):
        with pytest.raises(StorageError) as refused:
            await change
        assert refused.value.exit_code == 78
        assert all(word in str(refused.value) for word in ("keyring", "systemd-creds", "passphrase"))
        assert len(str(refused.value).splitlines()) == 1
    await store.lock()
    await store.unlock()
    await store.close()
    assert (store.persist, store.locked, store.warnings, store.names("")) == ("off", False, [], [])
    assert store.get("secret/one") is None
    assert in_folder(folder) == []


async def test_a_keyring_that_comes_later_is_used_without_a_restart(
    folder: Path, monkeypatch: pytest.MonkeyPatch, fake_keyring: FakeKeyring
) -> None:
    """Install one, and `broker secret set` works."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    fake_keyring.trouble = NoKeyring("this system has no keyring that works")
    store = EncryptedStore(folder, "auto")
    await store.open()
    assert store.persist == "off"
    fake_keyring.trouble = None
    await store.put("secret/one", ONE)
    assert store.persist == "keyring"


async def test_a_passphrase_is_a_home_where_there_is_no_other(folder: Path, fake_keyring: FakeKeyring) -> None:
    """One that is long enough; the file says from then on that it is one, also where a keyring comes later."""
    fake_keyring.trouble = NoKeyring("this system has no keyring that works")
    store = EncryptedStore(folder, "auto")
    with pytest.raises(Locked, match="8 characters"):
        await store.unlock(Secret("short"))
    await store.unlock(Secret(PASSPHRASE))
    await store.put("secret/one", ONE)
    await store.close()
    fake_keyring.trouble = None
    again = EncryptedStore(folder, "auto")
    await again.open()
    assert (again.persist, again.locked, again.wants_passphrase) == ("passphrase", True, True)
    await again.unlock(Secret(PASSPHRASE))
    assert again.get("secret/one") == ONE


async def test_where_a_person_wants_nothing_stored_no_passphrase_changes_that(folder: Path) -> None:
    """`persist = "off"` is a decision."""
    store = EncryptedStore(folder, "off")
    await store.unlock(Secret(PASSPHRASE))
    with pytest.raises(StorageError, match='persist is "off"'):
        await store.put("secret/one", ONE)
    assert in_folder(folder) == []


# --- locking ----------------------------------------------------------------------------------------------------


def alive(text: str) -> bool:
    """Whether anything in this process still holds a secret of this text."""
    gc.collect()
    return any(type(found) is Secret and found.reveal() == text for found in gc.get_objects())


def keys_alive() -> list[object]:
    """Find the keys that anything in this process still holds."""
    gc.collect()
    return [found for found in gc.get_objects() if type(found).__name__ in {"RootKey", "Opened", "Key"}]


@pytest.mark.slow
async def test_a_locked_store_holds_no_secret_in_memory(shop: Shop) -> None:
    """Neither the records nor the key are held by anything, those from the start included."""
    elsewhere = keys_alive()  # other tests keep keys of their own; held here, so that none is taken for another
    before = await shop.open()
    await before.put("secret/one", Secret("fake-to-be-dropped-1"))
    await before.close()
    store = await shop.open()
    store.keep("token/work", Secret("fake-to-be-dropped-2"))
    del before
    assert alive("fake-to-be-dropped-1")
    await store.lock()
    # A moment later: the thread that wrote, or told the keyring, may just be ending.
    await eventually(lambda: not alive("fake-to-be-dropped-1") and not alive("fake-to-be-dropped-2"))
    await eventually(lambda: all(any(found is other for other in elsewhere) for found in keys_alive()))


async def test_a_locked_store_says_so_and_unlocks_with_everything(shop: Shop) -> None:
    """What was due is written before, so nothing is lost by it."""
    store = await shop.open()
    await store.put("secret/one", ONE)
    store.keep("token/work", TWO)
    await store.lock()
    assert store.locked
    for ask in (lambda: store.get("secret/one"), lambda: store.names("")):
        with pytest.raises(Locked, match="broker unlock"):
            ask()
    with pytest.raises(Locked, match="broker unlock"):
        await store.put("secret/one", TWO)
    with pytest.raises(Locked, match="broker unlock"):
        await store.delete("secret/one")
    store.keep("token/late", ONE)
    await store.unlock(Secret(PASSPHRASE))
    assert store.names("") == ["secret/one", "token/work"]


async def test_a_token_discarded_while_locked_does_not_come_back(shop: Shop) -> None:
    """It was refused, locked or not."""
    store = await shop.open()
    await store.put("token/work", ONE)
    await store.lock()
    store.discard("token/work")
    await store.lock()  # twice locked is locked once
    await store.unlock(Secret(PASSPHRASE))
    assert store.names("") == []


async def test_locking_does_not_wait_for_a_disk_that_hangs(
    in_systemd: Shop, slow_disk: SlowDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person who locks wants the secrets gone now; and what the disk ends later brings none back."""
    monkeypatch.setattr(store_module, "_SETTLE_S", 0.01)
    store = await in_systemd.open()
    slow_disk.gate.clear()
    putting = asyncio.create_task(store.put("secret/one", Secret("fake-to-be-dropped-3")))
    await eventually(lambda: slow_disk.begun > 0)
    await store.lock()
    assert store.locked
    slow_disk.gate.set()
    await putting
    with pytest.raises(Locked):
        store.get("secret/one")
    del putting
    await eventually(lambda: not alive("fake-to-be-dropped-3"))
    await store.unlock()
    assert store.names("") == ["secret/one"]


async def test_a_put_does_not_wait_for_ever(
    in_systemd: Shop, slow_disk: SlowDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that hangs is an error in words, which does not promise either way."""
    monkeypatch.setattr(store_module, "_DISK_S", 0.01)
    monkeypatch.setattr(store_module, "_ASKED_S", 0.01)
    store = await in_systemd.open()
    slow_disk.gate.clear()
    with pytest.raises(StorageError, match="does not answer"):
        await store.put("secret/one", ONE)
    slow_disk.gate.set()
    await store.close()


async def test_a_lock_during_an_unlock_wins(in_keyring: Shop, fake_keyring: FakeKeyring) -> None:
    """Whoever locks last has it locked."""
    store = await in_keyring.open()
    await store.put("secret/one", ONE)
    await store.lock()
    unlocking = asyncio.create_task(store.unlock())
    await asyncio.sleep(0)
    await store.lock()
    with pytest.raises(Locked):
        await unlocking
    assert store.locked


async def test_an_unlock_that_was_called_off_while_it_waited_is_not_tried(
    in_passphrase: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes a third of a second of a processor: a lock rids the daemon of those that wait."""
    store = await in_passphrase.open()
    await store.put("secret/one", ONE)
    await store.lock()
    tried: list[Secret | None] = []

    def noting(folder: Path, homes: Homes, passphrase: Secret | None, newest: Mark | None) -> Loaded:
        tried.append(passphrase)
        return loading.load(folder, homes, passphrase, newest)

    monkeypatch.setattr(store_module, "load", noting)
    unlocking = [asyncio.create_task(store.unlock(Secret(f"fake-wrong-{at}"))) for at in range(3)]
    await asyncio.sleep(0)
    await store.lock()
    for one in unlocking:
        with pytest.raises(Locked):
            await one
    assert tried == [Secret("fake-wrong-0")]


async def test_unlocking_what_is_open_changes_nothing(shop: Shop) -> None:
    """Twice is not worse than once, with whatever passphrase."""
    store = await shop.open()
    await store.put("secret/one", ONE)
    await store.unlock(Secret("whatever-fake"))
    assert store.get("secret/one") == ONE


# --- keys for other uses ----------------------------------------------------------------------------------------


async def test_a_purpose_has_one_key_through_every_restart(shop: Shop) -> None:
    """A fingerprint or an audit line can be compared with last week's."""
    first, second = await shop.open(), await shop.open()
    assert first.derive("fingerprint") == second.derive("fingerprint")
    assert first.derive("fingerprint") != first.derive("audit")
    assert len(first.derive("audit")) == 32
    await first.lock()
    assert first.derive("audit") == second.derive("audit")


async def test_without_a_key_a_purpose_is_random_for_one_run(folder: Path) -> None:
    """The same within it, and of no use to anybody after."""
    first, second = EncryptedStore(folder, "off"), EncryptedStore(folder, "off")
    await first.open()
    assert first.derive("fingerprint") == first.derive("fingerprint")
    assert first.derive("fingerprint") != second.derive("fingerprint")
    assert first.derive("fingerprint") != first.derive("audit")


async def test_the_key_is_known_to_nobody_who_sees_a_derived_one(in_systemd: Shop, credentials: Path) -> None:
    """A key handed to another use is not the material itself."""
    store = await in_systemd.open()
    assert store.derive("") != (credentials / "broker-cache-key").read_bytes()
