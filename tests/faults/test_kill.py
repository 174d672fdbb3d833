"""What a person can rely on when the daemon is killed, or power fails, at any moment of storing."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from broker import os_keyring
from broker.storage import disk
from broker.storage.store import EncryptedStore
from tests.fakes.handed_key import hand_key
from tests.faults import writer
from tests.faults.writer import KeyringInFile
from tests.real.process import DEADLINE_S

KILLS: Final = 250
"""For each home of the key; 500 in all."""

LATEST_S: Final = 0.06
"""The last moment of a kill, from the start of the writer or from when it has opened the store."""

FROM_THE_START: Final = 0.2
"""This part of the kills may come while the store is being opened."""

PLANTED: Final = b"fake-token"


class Log:
    """What writers said: what must be stored, and what may be."""

    def __init__(self) -> None:
        self.acknowledged: dict[str, str] = {}
        self.begun: dict[str, str] = {}
        self.kept: dict[str, set[str]] = defaultdict(set)
        self.done = self.opened = 0

    def read(self, line: str) -> None:
        """Take one line of a writer's."""
        match line.split():
            case ["begin", name, value]:
                self.begun[name] = value
            case ["done", name, value]:
                self.acknowledged[name] = value
                del self.begun[name]
                self.done += 1
            case ["kept", name, value]:
                self.kept[name].add(value)
            case ["open"]:
                self.opened += 1
            case other:
                pytest.fail(f"the writer opened the store with a warning, or failed: {other}")

    def tells(self, unfinished: int) -> bool:
        """Whether writers were at work when they were killed, so often in the middle of a file."""
        return self.opened > KILLS / 4 and self.done > KILLS and unfinished > KILLS / 50

    def compare(self, store: EncryptedStore) -> None:
        """Hold the store against it; what was under way may or may not have happened, and is known from now on."""
        for name in {*self.acknowledged, *self.begun}:
            found = store.get(name)
            text = found.reveal() if found is not None else "-"
            allowed = {self.acknowledged.get(name, "-"), self.begun.get(name, self.acknowledged.get(name, "-"))}
            assert text in allowed, f"{name}: {allowed} was stored, {text} is there"
            self.acknowledged[name] = text
        self.begun.clear()
        for name in store.names("token/"):
            found = store.get(name)
            assert found is not None
            assert found.reveal() in self.kept[name]


class Zygote:
    """Starts writers, and kills them."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._rest = b""

    def kill_one(self, number: int, after_s: float, log: Log, *, once_open: bool) -> None:
        """Let one write for a while, kill it, and have the log read what it said to its last breath."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"%d\n" % number)
        self._process.stdin.flush()
        pid = self._pid()
        lines: list[str] = []
        while once_open and not any(line.startswith("open") for line in lines):
            lines += self._lines(DEADLINE_S)
            assert f"gone {pid}" not in lines, "the writer left by itself"
        deadline = time.monotonic() + after_s
        while (left_s := deadline - time.monotonic()) > 0:
            lines += self._lines(left_s)
        os.kill(pid, signal.SIGKILL)
        while f"gone {pid}" not in lines:
            lines += self._lines(DEADLINE_S)
        for line in lines[: lines.index(f"gone {pid}")]:
            log.read(line)

    def _pid(self) -> int:
        lines = self._lines(DEADLINE_S)
        word, pid = lines[0].split()
        assert word == "pid"
        self._rest = "".join(f"{line}\n" for line in lines[1:]).encode() + self._rest
        return int(pid)

    def _lines(self, timeout_s: float) -> list[str]:
        assert self._process.stdout is not None
        if b"\n" not in self._rest:
            ready, _, _ = select.select([self._process.stdout], [], [], timeout_s)
            if not ready:
                return []
            more = os.read(self._process.stdout.fileno(), 1 << 16)
            assert more, "the writers' parent is gone"
            self._rest += more
        *lines, self._rest = self._rest.split(b"\n")
        return [line.decode() for line in lines]


@contextmanager
def zygote(folder: Path, persist: str, env: dict[str, str]) -> Iterator[Zygote]:
    """Run the writers' parent until the block ends."""
    root = Path(writer.__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.writer", str(folder), persist],
        cwd=root,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        yield Zygote(process)
    finally:
        process.kill()
        process.communicate()


def readable(folder: Path) -> list[str]:
    """Name the files in which a token can be read."""
    return [path.name for path in folder.iterdir() if PLANTED in path.read_bytes()]


@pytest.fixture
def memory() -> Iterator[Path]:
    """Give a folder in memory where there is one: a kill cannot tell, and a busy disk would take minutes."""
    shared = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="b-", dir=shared if shared.is_dir() else None))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.parametrize("persist", ["systemd", "keyring"])
def test_a_kill_at_any_moment_loses_no_stored_secret_and_leaves_none_readable(
    persist: str, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At least five hundred times: under way may be one change for each writer, and nothing else is in doubt.

    Nor does a kill between a write and its count make the keyring take the newest file for an older one.
    """
    folder = memory / "state"
    folder.mkdir(mode=0o700)
    key = hand_key(memory)
    for name, path in key.items():
        monkeypatch.setenv(name, path)
    monkeypatch.setattr(os_keyring, "ask", KeyringInFile(memory / "keyring.json").ask)
    log, chance, unfinished = Log(), random.Random(7), 0
    numbers = itertools.count()
    with zygote(folder, persist, key) as writers:
        # On until the moments that matter were among them, else the test shows nothing.
        while (number := next(numbers)) < KILLS or not log.tells(unfinished):
            once_open = chance.random() > FROM_THE_START
            writers.kill_one(number, chance.uniform(0, LATEST_S), log, once_open=once_open)
            assert readable(folder) == []
            unfinished += len(list(folder.glob("*.unfinished")))
            asyncio.run(_reopen(folder, persist, log))
            assert not list(folder.glob("*.unfinished"))
    assert not list(folder.glob(f"{disk.SET_ASIDE}*"))


async def _reopen(folder: Path, persist: str, log: Log) -> None:
    store = EncryptedStore(folder, persist)
    await store.open()
    assert (store.locked, store.warnings) == (False, [])
    log.compare(store)
    await store.close()
