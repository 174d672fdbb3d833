"""A process that stores secrets as fast as it can, to be killed; and one that starts such processes quickly.

Run with a state folder, a home of the key and a seed. For each number on stdin it forks a writer, whose pid it says
on stdout; the writer says what it is about to do and what is done (`Log` in test_kill.py reads that); when it is
gone, `gone PID` follows.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from broker import os_keyring
from broker.secret import Secret
from broker.storage import records, writing  # noqa: F401  # so that every writer has cryptography from the beginning
from broker.storage import store as store_module
from broker.storage.store import EncryptedStore

SECRETS = 6
WRITERS = 3


def main() -> None:
    """Fork writers until stdin ends."""
    folder, persist = Path(sys.argv[1]), sys.argv[2]
    vars(os_keyring)["ask"] = KeyringInFile(folder.parent / "keyring.json").ask
    vars(store_module)["KEEP_WITHIN_S"] = 0.002  # so that a kept token is often being written
    for line in sys.stdin:
        if (pid := os.fork()) == 0:
            say("pid", str(os.getpid()))
            os.close(0)
            asyncio.run(write(folder, persist, line.strip()))
            os._exit(0)
        os.waitpid(pid, 0)
        say("gone", str(pid))


def say(*words: str) -> None:
    """Say one line, as one write: none is torn by the end."""
    os.write(1, (" ".join(words) + "\n").encode())


async def write(folder: Path, persist: str, run: str) -> None:
    """Store, replace and delete secrets, and keep and discard tokens, until killed."""
    store = EncryptedStore(folder, persist)
    store.begin()
    await store.open()
    assert not store.locked, store.warnings
    say("open", *(code for code, _message in store.warnings))
    workers = [put(store, random.Random(f"{run} {worker}"), f"{run}-{worker}") for worker in range(WRITERS)]
    await asyncio.gather(keep(store, run), *workers)


async def put(store: EncryptedStore, chance: random.Random, run: str) -> None:
    """Put and delete the secrets of one worker."""
    worker = run.rpartition("-")[2]
    for number in range(10_000):
        name = f"secret/{worker}-{chance.randrange(SECRETS)}"
        if chance.random() < 0.2:
            say("begin", name, "-")
            await store.delete(name)
            say("done", name, "-")
        else:
            value = f"fake-token-{run}-{number}"
            say("begin", name, value)
            await store.put(name, Secret(value))
            say("done", name, value)


async def keep(store: EncryptedStore, run: str) -> None:
    """Keep and discard tokens beside that."""
    for number in range(100_000):
        name = f"token/{number % 50}"
        value = f"fake-token-{run}-k{number}"
        say("kept", name, value)
        store.keep(name, Secret(value))
        if number % 7 == 0:
            store.discard(name)
        await asyncio.sleep(0.0005)


class KeyringInFile:
    """Stands in for a keyring that outlives the writers; each of its answers is written before it is given."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def ask(self, requests: Sequence[os_keyring.Request], _timeout_s: float, **_how: bool) -> list[Secret | None]:
        """Stand in for `os_keyring.ask`."""
        entries = json.loads(self._path.read_text()) if self._path.exists() else {}
        before = dict(entries)
        answers = [self._one(entries, *request) for request in requests]
        if entries != before:
            new = self._path.with_suffix(".new")
            new.write_text(json.dumps(entries))
            new.rename(self._path)
        return answers

    @staticmethod
    def _one(entries: dict[str, str], verb: str, service: str, username: str, value: str = "") -> Secret | None:
        entry = f"{service}/{username}"
        if verb == "set" or (verb == "add" and entry not in entries):
            entries[entry] = value
        return Secret(entries[entry]) if entry in entries else None


if __name__ == "__main__":
    main()
