"""Run with a small file system's folder: fills it, makes it read-only, and says as JSON what the store made of it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from broker.errors import StorageError
from broker.secret import Secret
from broker.storage.store import EncryptedStore
from tests.fakes.handed_key import hand_key


async def main(disk: Path) -> dict[str, Any]:
    """Do it, and tell."""
    folder = disk / "state"
    folder.mkdir(mode=0o700)
    os.environ |= hand_key(disk)
    told: dict[str, Any] = {}
    store = await opened(folder)
    await store.put("secret/one", Secret("fake-token-1"))
    told["full"] = await refusal(store, "secret/large", "x" * 60_000)
    told["there after it was full"] = (await opened(folder)).names("")
    told["in the folder then"] = sorted(path.name for path in folder.iterdir())
    await store.put("secret/two", Secret("fake-token-2"))
    told["room again"] = store.warnings
    make_read_only(disk)
    told["read-only"] = await refusal(store, "secret/one", "fake-token-3")
    told["there while read-only"] = (await opened(folder)).names("")
    return told


def make_read_only(disk: Path) -> None:
    """As a file system makes itself when it finds damage."""
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)


async def opened(folder: Path) -> EncryptedStore:
    """Open the store."""
    store = EncryptedStore(folder, "systemd")
    await store.open()
    return store


async def refusal(store: EncryptedStore, name: str, value: str) -> str:
    """Return what is said when this is stored."""
    try:
        await store.put(name, Secret(value))
    except StorageError as error:
        return str(error)
    return "nothing"


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(Path(sys.argv[1])))))
