"""What a person can rely on when the disk is full, read-only or broken: the old file stays good, and it is said."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broker.errors import StorageError
from broker.secret import Secret
from broker.storage import disk
from broker.storage import store as store_module
from broker.storage.store import EncryptedStore
from tests.fakes.handed_key import hand_key
from tests.faults import on_a_small_disk
from tests.real.process import DEADLINE_S

ONE = Secret("fake-token-1")
TWO = Secret("fake-token-2")
Need = Callable[[bool, str], None]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a state folder, with a key that the service manager handed over."""
    made = tmp_path / "state"
    made.mkdir(mode=0o700)
    for name, path in hand_key(tmp_path).items():
        monkeypatch.setenv(name, path)
    return made


async def a_store(folder: Path) -> EncryptedStore:
    """Open it."""
    store = EncryptedStore(folder, "systemd")
    await store.open()
    return store


def in_folder(folder: Path) -> list[str]:
    """Name what is in it."""
    return sorted(path.name for path in folder.iterdir())


class Fault:
    """The n-th call of a function fails, once."""

    def __init__(self, function: Callable[..., Any], number: int, error: int) -> None:
        self._function = function
        self._left = number
        self._error = error

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # stands in for any function
        """Call the function, or fail."""
        self._left -= 1
        if self._left == 0:
            raise OSError(self._error, os.strerror(self._error))
        return self._function(*args, **kwargs)


STEPS: dict[str, tuple[Any, str, int]] = {
    "making the new file": (os, "open", 1),
    "writing it": (os, "write", 1),
    "syncing it": (os, "fsync", 1),
    "putting it in place": (Path, "rename", 1),
    "opening the folder": (os, "open", 2),
    "syncing the folder": (os, "fsync", 2),
}
IN_PLACE = {"opening the folder", "syncing the folder"}
"""After these steps the new file is there: it is not known to survive power loss, so nothing is promised of it."""


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("step", STEPS)
async def test_a_fault_at_any_step_of_a_write_leaves_the_old_file_good(
    step: str, error: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who stores reads one line; nothing changed in memory, nothing is left over, and the next try works."""
    store = await a_store(folder)
    await store.put("secret/one", ONE)
    where, name, number = STEPS[step]
    with monkeypatch.context() as patch:
        patch.setattr(where, name, Fault(getattr(where, name), number, error))
        with pytest.raises(StorageError) as refused:
            await store.put("secret/one", TWO)
    assert os.strerror(error) in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert store.warnings == [("storage-unwritable", str(refused.value))]
    assert store.get("secret/one") == ONE
    assert in_folder(folder) == [disk.NAME]
    reopened = await a_store(folder)
    assert reopened.get("secret/one") == (TWO if step in IN_PLACE else ONE)
    assert reopened.warnings == []
    await store.put("secret/one", TWO)
    assert store.warnings == []
    assert (await a_store(folder)).get("secret/one") == TWO


async def test_a_disk_that_takes_little_at_a_time_gets_all_of_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A short write is not an error, and not the end."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, bytes(data[:7])))
    await (await a_store(folder)).put("secret/one", ONE)
    monkeypatch.undo()
    assert folder.joinpath(disk.NAME).stat().st_size > 100


async def test_what_could_not_be_kept_is_kept_when_the_disk_works_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without anybody asking for it; and meanwhile nobody is held up."""
    monkeypatch.setattr(store_module, "KEEP_WITHIN_S", 0.001)
    monkeypatch.setattr(store_module, "_RETRY_S", 0.02)
    store = await a_store(folder)
    monkeypatch.setattr(os, "fsync", Fault(os.fsync, 1, errno.EIO))
    store.keep("token/work", ONE)
    assert store.get("token/work") == ONE
    for _ in range(500):
        if folder.joinpath(disk.NAME).exists() and not store.warnings:
            break
        await asyncio.sleep(0.01)
    assert (await a_store(folder)).get("token/work") == ONE


async def test_what_a_killed_daemon_left_unfinished_is_cleaned_up(folder: Path) -> None:
    """It is never taken for the file, and its space is given back at the next start."""
    await (await a_store(folder)).put("secret/one", ONE)
    left = folder / f"{disk.NAME}.unfinished"
    left.write_bytes(b"half a file")
    store = await a_store(folder)
    assert store.get("secret/one") == ONE
    assert not left.exists()


async def test_a_link_in_the_place_of_the_unfinished_file_is_not_followed(folder: Path, tmp_path: Path) -> None:
    """Whoever could make one would have us overwrite a file of the person's."""
    store = await a_store(folder)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    folder.joinpath(f"{disk.NAME}.unfinished").symlink_to(victim)
    await store.put("secret/one", ONE)
    assert victim.read_text() == "precious"
    assert (await a_store(folder)).get("secret/one") == ONE


@pytest.mark.real
def test_a_full_and_a_read_only_disk_cost_nothing_that_was_stored(
    need: Need, need_program: Callable[[str], str], tmp_path: Path
) -> None:
    """On a real file system of 64 KiB: the first write that does not fit says so, and the daemon's work goes on."""
    need(os.geteuid() == 0, "root, to mount a small file system,")
    script = Path(on_a_small_disk.__file__)
    mounted = f"mount -t tmpfs -o size=64k,mode=700 none {tmp_path} && exec {sys.executable} -m tests.faults.{script.stem} {tmp_path}"
    done = subprocess.run(
        [need_program("unshare"), "--mount", "sh", "-c", mounted],
        cwd=script.parents[2],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "full": f"{tmp_path}/state/cache.bin: cannot be written (No space left on device); what is stored there is kept; make room there",
        "there after it was full": ["secret/one"],
        "in the folder then": ["cache.bin"],
        "room again": [],
        "read-only": f"{tmp_path}/state/cache.bin: cannot be written (Read-only file system); what is stored there is kept; make it writable",
        "there while read-only": ["secret/one", "secret/two"],
    }
