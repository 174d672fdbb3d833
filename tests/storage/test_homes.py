"""What an administrator can rely on of a key that the service manager hands over: right, or named with what is wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.errors import StorageError
from broker.secret import Secret
from broker.storage.header import Cost
from broker.storage.homes.interface import Absent, Lock, Mark, Unreachable
from broker.storage.homes.passphrase import PassphraseHome
from broker.storage.homes.systemd import SystemdHome

LOCK = Lock(b"s" * 16, None, is_new=False)


def home(folder: Path) -> SystemdHome:
    """Look into this folder, as systemd would have us."""
    return SystemdHome({"CREDENTIALS_DIRECTORY": str(folder)})


@pytest.mark.parametrize("size", [32, 33, 4096])
def test_a_credential_of_32_bytes_or_more_is_a_key(credentials: Path, size: int) -> None:
    """Any bytes, a line of base64 too."""
    _replaced(credentials, os.urandom(size))
    assert home(credentials).is_there()
    assert len(home(credentials).open(LOCK, None).material) == size


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o600])
def test_the_modes_that_systemd_uses_are_taken(credentials: Path, mode: int) -> None:
    """0440 is what its access list for us looks like."""
    (credentials / "broker-cache-key").chmod(mode)
    assert home(credentials).open(LOCK, None).material


def _replaced(folder: Path, content: bytes) -> None:
    key = folder / "broker-cache-key"
    key.unlink()
    key.write_bytes(content)
    key.chmod(0o400)


def _is_short(folder: Path) -> None:
    _replaced(folder, b"x" * 31)


def _is_empty(folder: Path) -> None:
    _replaced(folder, b"")


def _is_open_to_others(folder: Path) -> None:
    (folder / "broker-cache-key").chmod(0o404)


def _is_a_link(folder: Path) -> None:
    key = folder / "broker-cache-key"
    key.rename(folder / "elsewhere")
    key.symlink_to("elsewhere")


def _is_a_fifo(folder: Path) -> None:
    (folder / "broker-cache-key").unlink()
    os.mkfifo(folder / "broker-cache-key", 0o400)


def _is_a_folder(folder: Path) -> None:
    (folder / "broker-cache-key").unlink()
    (folder / "broker-cache-key").mkdir()


@pytest.mark.parametrize(
    "wrong",
    [_is_short, _is_empty, _is_open_to_others, _is_a_link, _is_a_fifo, _is_a_folder],
    ids=lambda wrong: wrong.__name__.removeprefix("_"),
)
def test_a_credential_that(wrong: Callable[[Path], None], credentials: Path) -> None:
    """... is no key is refused in one line with its path, and never by waiting for it."""
    wrong(credentials)
    assert home(credentials).is_there()
    with pytest.raises(Unreachable) as refused:
        home(credentials).open(LOCK, None)
    assert str(credentials / "broker-cache-key") in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_what_was_not_handed_over_is_absent(tmp_path: Path) -> None:
    """And the message says how it is."""
    for nothing in (SystemdHome({}), home(tmp_path), home(tmp_path / "nowhere")):
        assert not nothing.is_there()
        with pytest.raises(Absent, match="LoadCredentialEncrypted=broker-cache-key"):
            nothing.open(LOCK, None)


def test_homes_that_cannot_count_are_told_in_vain(credentials: Path) -> None:
    """A mark is for those who remember."""
    for forgetful in (home(credentials), PassphraseHome()):
        assert not forgetful.counts
        forgetful.remember(Mark(b"s" * 16, 7))


def test_a_passphrase_takes_the_cost_that_was_promised() -> None:
    """A new store's is at least what OWASP asks of scrypt: N = 2^17, r = 8, p = 1."""
    cost = Cost()
    assert (cost.log_n, cost.r, cost.p) >= (17, 8, 1)
    assert cost.is_sane()


def test_another_salt_or_passphrase_is_another_key() -> None:
    """The same again is the same."""
    cheap = Cost(log_n=14)

    def key(salt: bytes, passphrase: str) -> bytes:
        return PassphraseHome().open(Lock(salt, cheap, is_new=False), Secret(passphrase)).material

    assert key(b"a" * 16, "fake-passphrase") == key(b"a" * 16, "fake-passphrase")
    assert len({key(b"a" * 16, "fake-1"), key(b"b" * 16, "fake-1"), key(b"a" * 16, "fake-2")}) == 3


def test_a_machine_without_the_memory_for_it_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of a wrong passphrase, or a crash."""

    def fails(*_args: object, **_kwargs: object) -> bytes:
        raise MemoryError

    monkeypatch.setattr("hashlib.scrypt", fails)
    with pytest.raises(StorageError, match="MB of memory"):
        PassphraseHome().open(Lock(b"s" * 16, Cost(), is_new=False), Secret("fake-passphrase"))
