"""What happens when the file or its key is not as it should be: nothing is lost, nothing stops, and it is said."""

from __future__ import annotations

import errno
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.errors import Locked, StorageError
from broker.os_keyring import KeyringLocked
from broker.secret import Secret
from broker.storage import disk
from broker.storage.header import CHECKSUM_BYTES, Reason, Unreadable, finished
from broker.storage.homes.keyring import KEY, SERVICE
from broker.storage.store import EncryptedStore
from tests.fakes.keyring import FakeKeyring
from tests.storage.conftest import PASSPHRASE, Shop

ONE = Secret("fake-token-1")
TWO = Secret("fake-token-2")

Damage = Callable[[Path], None]


def _is_cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def _is_empty(file: Path) -> None:
    file.write_bytes(b"")


def _has_a_flipped_bit(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def _was_changed_by_an_attacker(file: Path) -> None:
    data = bytearray(file.read_bytes()[:-CHECKSUM_BYTES])
    data[-1] ^= 1
    file.write_bytes(finished(bytes(data)))


def _is_of_a_later_version(file: Path) -> None:
    data = bytearray(file.read_bytes()[:-CHECKSUM_BYTES])
    struct.pack_into(">H", data, 8, 2)
    file.write_bytes(finished(bytes(data)))


def _is_something_else(file: Path) -> None:
    file.write_bytes(b"[credentials.work]\n")


def _is_open_to_others(file: Path) -> None:
    file.chmod(0o640)


def _can_be_written_by_others(file: Path) -> None:
    file.chmod(0o602)


def _is_a_link(file: Path) -> None:
    elsewhere = file.rename(file.parent.parent / "elsewhere")
    file.symlink_to(elsewhere)


def _is_a_dangling_link(file: Path) -> None:
    file.unlink()
    file.symlink_to("nowhere")


def _is_a_fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file, 0o600)


def _is_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir(mode=0o700)


def _is_enormous(file: Path) -> None:
    os.truncate(file, 1 << 40)


DAMAGES: dict[Damage, str] = {
    _is_cut: "truncated",
    _is_empty: "truncated",
    _has_a_flipped_bit: "corrupt",
    _was_changed_by_an_attacker: "corrupt",
    _is_of_a_later_version: "future",
    _is_something_else: "corrupt",
    _is_open_to_others: "unsafe",
    _can_be_written_by_others: "unsafe",
    _is_a_link: "unsafe",
    _is_a_dangling_link: "unsafe",
    _is_a_fifo: "unsafe",
    _is_a_folder: "unsafe",
    _is_enormous: "corrupt",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__.removeprefix("_"))
async def test_a_file_that(damage: Damage, in_systemd: Shop) -> None:
    """... cannot be trusted is set aside with a warning that names it, and a new one is begun."""
    store = await in_systemd.open()
    await store.put("secret/one", ONE)
    damage(in_systemd.file)
    store = await in_systemd.open()
    assert (store.locked, store.names("")) == (False, [])
    [(code, message)] = store.warnings
    [name] = in_systemd.set_aside()
    assert name.startswith(f"{disk.SET_ASIDE}{DAMAGES[damage]}-")
    assert code == "storage-set-aside"
    assert str(in_systemd.file) in message
    assert name in message
    assert len(message.splitlines()) == 1
    await store.put("secret/two", TWO)
    again = await in_systemd.open()
    assert (again.names(""), again.warnings) == (["secret/two"], [])


async def test_that_a_file_was_set_aside_is_said_also_after_a_lock_and_an_unlock(shop: Shop) -> None:
    """With a passphrase nobody would ever read it else: who sees the warning has to unlock first."""
    store = await shop.open()
    await store.put("secret/one", ONE)
    _has_a_flipped_bit(shop.file)
    store = await shop.open()
    for _ in range(2):
        assert shop.set_aside()[0] in dict(store.warnings)["storage-set-aside"]
        await store.lock()
        await store.unlock(Secret(PASSPHRASE) if shop.persist == "passphrase" else None)


@pytest.mark.parametrize("damage", [_is_cut, _has_a_flipped_bit, _was_changed_by_an_attacker])
async def test_damage_costs_no_home_its_next_file(damage: Damage, shop: Shop) -> None:
    """The new file works as the old one did: same home, no alarm at the next start."""
    store = await shop.open()
    await store.put("secret/one", ONE)
    await store.close()
    damage(shop.file)
    store = await shop.open()
    await store.put("secret/two", TWO)
    await store.close()
    again = await shop.open()
    assert (again.names(""), again.warnings) == (["secret/two"], [])
    assert len(shop.set_aside()) == 1


async def test_a_file_that_belongs_to_somebody_else_is_set_aside(
    in_systemd: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They could have put it there."""
    await (await in_systemd.open()).put("secret/one", ONE)
    us = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: us + 1)
    with pytest.raises(Unreadable, match="belongs to uid") as refused:
        disk.read(in_systemd.folder)
    assert refused.value.reason is Reason.UNSAFE


async def test_only_the_youngest_few_are_kept(in_systemd: Shop) -> None:
    """A disk that fails every day does not fill itself with what was set aside."""
    for number in range(disk.SET_ASIDE_MAX + 3):
        in_systemd.file.write_bytes(b"%d" % number)
        in_systemd.file.chmod(0o600)
        await in_systemd.open()
    kept = {(in_systemd.folder / name).read_bytes() for name in in_systemd.set_aside()}
    assert kept == {b"%d" % number for number in range(3, disk.SET_ASIDE_MAX + 3)}


async def test_a_file_that_cannot_be_read_is_left_alone(in_systemd: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk may recover: until then nothing overwrites it, and the daemon goes on without."""
    await (await in_systemd.open()).put("secret/one", ONE)
    before = in_systemd.content()

    def fails(_folder: Path) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(disk, "read", fails)
        store = await in_systemd.open()
        store.keep("token/work", TWO)
        with pytest.raises(StorageError, match="Input/output error"):
            await store.put("secret/two", TWO)
        await store.close()
        assert [code for code, _ in store.warnings] == ["storage-unreadable"]
    assert in_systemd.content() == before
    assert (await in_systemd.open()).names("") == ["secret/one"]


async def test_a_file_that_cannot_be_set_aside_is_left_alone(in_systemd: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read-only folder stops neither the daemon nor destroys what could be looked into."""
    await (await in_systemd.open()).put("secret/one", ONE)
    _has_a_flipped_bit(in_systemd.file)
    before = in_systemd.content()

    def fails(_path: Path, _target: Path) -> Path:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "rename", fails)
    store = await in_systemd.open()
    [(code, message)] = store.warnings
    assert code == "storage-unreadable"
    assert "Read-only" in message
    with pytest.raises(StorageError, match="set aside"):
        await store.put("secret/two", TWO)
    assert in_systemd.content() == before


# --- another key ------------------------------------------------------------------------------------------------


async def test_a_file_of_a_lost_key_is_set_aside(in_keyring: Shop, fake_keyring: FakeKeyring) -> None:
    """Another keyring, a new sign-in password: the warning says that it is the key, not the file."""
    await (await in_keyring.open()).put("secret/one", ONE)
    fake_keyring.entries.clear()
    store = await in_keyring.open()
    assert store.names("") == []
    assert in_keyring.set_aside()[0].startswith(f"{disk.SET_ASIDE}foreign-")
    assert "another key" in dict(store.warnings)["storage-set-aside"]
    await store.put("secret/two", TWO)
    assert (await in_keyring.open()).names("") == ["secret/two"]


async def test_a_keyring_that_is_away_costs_nothing(in_keyring: Shop, fake_keyring: FakeKeyring) -> None:
    """The file is kept as it is, the store says that it is locked and why, and unlocking is enough."""
    await (await in_keyring.open()).put("secret/one", ONE)
    before = in_keyring.content()
    fake_keyring.trouble = KeyringLocked("the keyring is locked; unlock it")
    store = await in_keyring.open()
    store.keep("token/work", TWO)
    assert (store.locked, store.persist) == (True, "keyring")
    assert "the keyring is locked" in dict(store.warnings)["storage-key"]
    with pytest.raises(Locked, match=r"the keyring is locked.*broker unlock"):
        store.get("secret/one")
    with pytest.raises(Locked, match="the keyring is locked"):
        await store.unlock()
    await store.close()
    assert in_keyring.content() == before
    fake_keyring.trouble = None
    await store.unlock()
    assert store.get("secret/one") == ONE
    assert store.warnings == []


async def test_a_keyring_that_is_away_from_the_beginning_locks_nothing(
    in_keyring: Shop, fake_keyring: FakeKeyring
) -> None:
    """There is no file to be locked; whoever stores something reads why it does not work, until it does."""
    fake_keyring.trouble = KeyringLocked("the keyring is locked; unlock it")
    store = await in_keyring.open()
    assert (store.locked, store.persist, store.get("secret/one")) == (False, "keyring", None)
    with pytest.raises(StorageError, match="the keyring is locked"):
        await store.put("secret/one", ONE)
    assert not in_keyring.file.exists()
    fake_keyring.trouble = None
    await store.put("secret/one", ONE)
    assert (await in_keyring.open()).get("secret/one") == ONE


async def test_auto_stays_with_the_home_that_the_file_was_written_with(
    in_keyring: Shop, fake_keyring: FakeKeyring, credentials: Path
) -> None:
    """A second home that appears, or a first one that is away, never costs the file."""
    await (await in_keyring.open()).put("secret/one", ONE)
    store = EncryptedStore(in_keyring.folder, "auto")
    await store.open()
    assert (store.persist, store.names("")) == ("keyring", ["secret/one"])
    fake_keyring.trouble = KeyringLocked("the keyring is locked")
    store = EncryptedStore(in_keyring.folder, "auto")
    await store.open()
    assert (store.persist, store.locked) == ("keyring", True)


async def test_auto_prefers_what_the_service_manager_was_given(
    folder: Path, fake_keyring: FakeKeyring, credentials: Path
) -> None:
    """Somebody set it up on purpose."""
    store = EncryptedStore(folder, "auto")
    await store.open()
    assert (store.persist, fake_keyring.asked) == ("systemd", 0)


async def test_a_wrong_credential_is_named_and_nothing_else_is_taken(
    folder: Path, fake_keyring: FakeKeyring, credentials: Path
) -> None:
    """A key that is too short is a mistake to be mended, not a reason to use another."""
    key = credentials / "broker-cache-key"
    key.chmod(0o600)
    key.write_bytes(b"short")
    store = EncryptedStore(folder, "auto")
    await store.open()
    assert (store.persist, fake_keyring.asked) == ("systemd", 0)
    assert "5 bytes, and a key needs 32" in dict(store.warnings)["storage-key"]
    with pytest.raises(StorageError, match="5 bytes"):
        await store.put("secret/one", ONE)


@pytest.mark.parametrize("persist", ["keyring", "systemd", "passphrase"])
async def test_a_new_home_in_the_config_takes_the_records_along(
    persist: str, folder: Path, fake_keyring: FakeKeyring, credentials: Path
) -> None:
    """As long as the old key can be had; afterwards it is not needed any more."""
    before = Shop(folder, "systemd" if persist != "systemd" else "keyring")
    await (await before.open()).put("secret/one", ONE)
    store = await Shop(folder, persist).open()
    assert store.get("secret/one") == ONE
    await store.close()
    if before.persist == "systemd":
        shutil.rmtree(credentials)
    else:
        fake_keyring.trouble = KeyringLocked("the keyring is locked")
    again = await Shop(folder, persist).open()
    assert (again.persist, again.get("secret/one"), again.warnings) == (persist, ONE, [])


async def test_a_new_home_does_not_cost_what_the_old_one_locks_away(
    folder: Path, fake_keyring: FakeKeyring, credentials: Path
) -> None:
    """Without the old key the file is kept, and the message says what to do."""
    await (await Shop(folder, "keyring").open()).put("secret/one", ONE)
    fake_keyring.trouble = KeyringLocked("the keyring is locked")
    store = await Shop(folder, "systemd").open()
    assert store.locked
    fake_keyring.trouble = None
    await store.unlock()
    assert (store.persist, store.get("secret/one")) == ("systemd", ONE)


async def test_switched_off_an_existing_file_is_left_alone_and_named(in_systemd: Shop) -> None:
    """It is neither read nor written, and whoever switched it off is told that it is still there."""
    await (await in_systemd.open()).put("secret/one", ONE)
    before = in_systemd.content()
    store = EncryptedStore(in_systemd.folder, "off")
    await store.open()
    store.keep("token/work", TWO)
    await store.close()
    assert (store.persist, store.locked, store.names("")) == ("off", False, [])
    assert str(in_systemd.file) in dict(store.warnings)["storage-off"]
    assert in_systemd.content() == before


# --- a passphrase -----------------------------------------------------------------------------------------------


async def test_a_passphrase_is_checked_and_a_wrong_one_costs_nothing(in_passphrase: Shop) -> None:
    """It can be tried again; nothing is set aside for a typing error."""
    await (await in_passphrase.open()).put("secret/one", ONE)
    store = EncryptedStore(in_passphrase.folder, "passphrase")
    await store.open()
    assert (store.locked, store.warnings) == (True, [])
    for wrong in (Secret("another-fake-passphrase"), None):
        with pytest.raises(Locked, match="broker unlock"):
            await store.unlock(wrong)
    assert in_passphrase.set_aside() == []
    await store.unlock(Secret(PASSPHRASE))
    assert store.get("secret/one") == ONE


async def test_a_new_passphrase_is_fixed_by_the_first_unlock(in_passphrase: Shop) -> None:
    """From then on another one is wrong, although nothing is stored yet."""
    store = EncryptedStore(in_passphrase.folder, "passphrase")
    await store.open()
    assert not store.locked
    with pytest.raises(Locked, match="broker unlock"):
        await store.put("secret/one", ONE)
    with pytest.raises(Locked, match="8 characters"):
        await store.unlock(Secret("short"))
    await store.unlock(Secret(PASSPHRASE))
    again = EncryptedStore(in_passphrase.folder, "passphrase")
    await again.open()
    assert again.locked
    with pytest.raises(Locked, match="not the passphrase"):
        await again.unlock(Secret("another-fake-passphrase"))


async def test_a_passphrase_counts_by_its_characters_however_they_were_typed(in_passphrase: Shop) -> None:
    """An accent may be one code point or two, depending on the keyboard."""
    store = EncryptedStore(in_passphrase.folder, "passphrase")
    await store.unlock(Secret("fake-caf\u00e9-1"))
    await store.put("secret/one", ONE)
    again = EncryptedStore(in_passphrase.folder, "passphrase")
    await again.unlock(Secret("fake-cafe\u0301-1"))
    assert again.get("secret/one") == ONE


# --- an older file put back -------------------------------------------------------------------------------------


async def test_an_older_file_put_back_is_noticed(in_keyring: Shop) -> None:
    """It could hold what was revoked since: it is set aside, and nothing of it is served."""
    store = await in_keyring.open()
    await store.put("secret/one", ONE)
    old = in_keyring.content()
    await store.delete("secret/one")
    await store.close()
    in_keyring.file.write_bytes(old)
    store = await in_keyring.open()
    assert store.names("") == []
    assert "older one put back" in dict(store.warnings)["storage-older"]
    assert in_keyring.set_aside()[0].startswith(f"{disk.SET_ASIDE}older-")
    await store.put("secret/two", TWO)
    await store.close()
    in_keyring.file.write_bytes(old)
    assert (await in_keyring.open()).names("") == []


async def test_a_file_from_before_a_new_beginning_is_noticed_too(in_keyring: Shop) -> None:
    """Losing the file does not restart the count."""
    store = await in_keyring.open()
    for _ in range(3):
        await store.put("secret/one", ONE)
    await store.close()
    old = in_keyring.content()
    in_keyring.file.unlink()
    store = await in_keyring.open()
    await store.put("secret/two", TWO)
    await store.close()
    in_keyring.file.write_bytes(old)
    assert [code for code, _ in (await in_keyring.open()).warnings] == ["storage-older"]


async def test_a_file_from_another_state_folder_is_noticed(
    in_keyring: Shop, tmp_path: Path, fake_keyring: FakeKeyring
) -> None:
    """It has the same key, and perhaps a higher count; still it was never written here."""
    other = Shop(tmp_path / "other", "keyring")
    other.folder.mkdir(mode=0o700)
    store, strange = await in_keyring.open(), await other.open()
    await store.put("secret/one", ONE)
    for _ in range(5):
        await strange.put("secret/strange", TWO)
    await store.close()
    await strange.close()
    shutil.copy(other.file, in_keyring.file)
    assert (await in_keyring.open()).names("") == []
    assert (await other.open()).names("") == ["secret/strange"]


async def test_a_moved_state_folder_keeps_its_secrets(in_keyring: Shop, tmp_path: Path) -> None:
    """A new home folder, a restored backup on a new machine with its keyring: nothing was written there yet."""
    store = await in_keyring.open()
    await store.put("secret/one", ONE)
    await store.close()
    moved = Shop(tmp_path / "moved", "keyring")
    in_keyring.folder.rename(moved.folder)
    store = await moved.open()
    assert (store.names(""), store.warnings) == (["secret/one"], [])


async def test_a_kill_between_a_write_and_its_count_condemns_nothing(
    in_keyring: Shop, fake_keyring: FakeKeyring
) -> None:
    """The count follows the file: the newest file is never taken for an older one, and it is counted at the next start."""
    store = await in_keyring.open()
    await store.put("secret/one", ONE)
    await store.close()
    counted = dict(fake_keyring.entries)
    await store.put("secret/two", TWO)
    await store.close()
    newest = in_keyring.content()
    fake_keyring.entries = dict(counted)
    store = await in_keyring.open()
    assert (store.names(""), store.warnings) == (["secret/one", "secret/two"], [])
    await store.close()
    assert fake_keyring.entries != counted
    assert in_keyring.content() == newest


@pytest.mark.parametrize("persist", ["systemd", "passphrase"])
async def test_what_is_put_back_while_locked_is_noticed_where_the_home_cannot_count(
    persist: str, request: pytest.FixtureRequest
) -> None:
    """At least by the daemon that wrote the newer one."""
    shop: Shop = request.getfixturevalue(f"in_{persist}")
    store = await shop.open()
    await store.put("secret/one", ONE)
    old = shop.content()
    await store.delete("secret/one")
    await store.lock()
    shop.file.write_bytes(old)
    await store.unlock(Secret(PASSPHRASE))
    assert store.names("") == []
    assert [code for code, _ in store.warnings] == ["storage-older"]


async def test_a_keyring_that_does_not_take_the_count_is_named(in_keyring: Shop, fake_keyring: FakeKeyring) -> None:
    """Storing goes on; the warning ends when counting works again."""
    store = await in_keyring.open()
    fake_keyring.trouble = KeyringLocked("the keyring is locked")
    await store.put("secret/one", ONE)
    await store.close()
    assert "would not be noticed" in dict(store.warnings)["storage-uncounted"]
    fake_keyring.trouble = None
    await store.put("secret/one", TWO)
    await store.close()
    assert store.warnings == []


async def test_a_strange_mark_is_no_mark(in_keyring: Shop, fake_keyring: FakeKeyring) -> None:
    """An entry that is not ours, or damaged, costs the count and nothing else."""
    store = await in_keyring.open()
    await store.put("secret/one", ONE)
    await store.close()
    [mark] = [entry for entry in fake_keyring.entries if entry != (SERVICE, KEY)]
    for text in ("", "no mark", "aa 7", "zz", f"{'00' * 16} seven", f"{'00' * 16} {'9' * 5000}"):
        fake_keyring.entries[mark] = text
        store = await in_keyring.open()
        assert (store.names(""), store.warnings) == (["secret/one"], [])
        await store.close()


async def test_an_entry_that_is_no_key_is_named(in_keyring: Shop, fake_keyring: FakeKeyring) -> None:
    """It is not replaced: it could be somebody's mistake, and the file's key elsewhere."""
    await (await in_keyring.open()).put("secret/one", ONE)
    fake_keyring.entries[SERVICE, KEY] = "fake-but-no-key"
    store = await in_keyring.open()
    assert store.locked
    message = dict(store.warnings)["storage-key"]
    assert f"{SERVICE}/{KEY}" in message
    assert "fake-but-no-key" not in message
    assert fake_keyring.entries[SERVICE, KEY] == "fake-but-no-key"
