"""What a person allowed: settings files of projects, by the hash of their content (`broker allow`, `allowed.json`).

Like direnv's allow: a file that changes is asked about again. A file of pins that is lost, or is not what we wrote,
allows nothing.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from broker.errors import StorageError
from broker.paths import private_folder

Pin = tuple[str, str]
"""Path and SHA-256 of the content in hex."""

NAME: Final = "allowed.json"
SIZE_MAX: Final = 1 << 20
_LOCK: Final = "allowed.lock"
_VERSION: Final = 1
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class NotPins(ValueError):
    """The file is not one of pins; the message says why, in words that follow its path."""


def parse(content: bytes) -> frozenset[Pin]:
    """Read the file's content. Raises `NotPins`."""
    if len(content) > SIZE_MAX:
        raise NotPins("is larger than 1 MiB")
    try:
        tree = json.loads(content)
    except (ValueError, RecursionError):
        raise NotPins("is not JSON") from None
    if not isinstance(tree, dict) or tree.get("version") != _VERSION:
        raise NotPins("is of another version")
    entries = tree.get("allowed")
    if not isinstance(entries, list):
        raise NotPins("has no list of allowed files")
    return frozenset(_pin(entry) for entry in entries)


def read(folder: Path) -> frozenset[Pin]:
    """Read the pins in the state folder; none where there is no file. Raises `StorageError` for a broken one."""
    path = folder / NAME
    try:
        with path.open("rb") as file:
            return parse(file.read(SIZE_MAX + 1))
    except FileNotFoundError:
        return frozenset()
    except NotPins as reason:
        raise StorageError(broken(path, str(reason))) from None
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error


def change(
    folder: Path, *, add: Iterable[Pin] = (), remove: Callable[[Pin], bool] = lambda _pin: False
) -> frozenset[Pin]:
    """Replace the pins in the state folder (0600): all or nothing, power loss included; return the ones there are now.

    Raises `StorageError`, `UnsafePath`.
    """
    try:
        with _alone(private_folder(folder)):
            before = read(folder)
            after = frozenset(pin for pin in before if not remove(pin)) | frozenset(add)
            if after != before:
                _replace(folder / NAME, _written(folder / NAME, after))
            return after
    except OSError as error:
        raise StorageError(f"{folder / NAME}: cannot be written: {error.strerror}") from error


def broken(path: Path | str, reason: str) -> str:
    """Say what is wrong with a file of pins, and what mends it."""
    return f"{path}: {reason}, so no project is allowed; remove it, then run: broker allow PATH for each again"


def is_below(pin: Pin, folder: str) -> bool:
    """Whether it is of a file under `folder`."""
    return pin[0].startswith(folder.rstrip("/") + "/")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other commands from changing the pins meanwhile: one of the two changes would be lost."""
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _written(path: Path, pins: Iterable[Pin]) -> bytes:
    entries = [{"path": path, "sha256": sha256} for path, sha256 in sorted(pins)]
    content = json.dumps({"version": _VERSION, "allowed": entries}, indent=1).encode() + b"\n"
    if len(content) > SIZE_MAX:
        raise StorageError(f"{path}: would be larger than 1 MiB; run: broker deny PATH for what is of no use any more")
    return content


def _pin(entry: object) -> Pin:
    match entry:
        case {"path": str(path), "sha256": str(sha256)} if path.startswith("/") and _SHA256.fullmatch(sha256):
            return path, sha256
    raise NotPins("has an entry that is none")


def _replace(path: Path, content: bytes) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{NAME}.", dir=path.parent)  # 0600, as mkstemp(3) promises
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
    _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
