"""A text file of another program (or of a person), replaced whole or not at all, through links, with its mode and owner."""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final

from broker.errors import BrokerError
from broker.paths import make_folder

SIZE_MAX: Final = 1 << 20
"""Bytes of a file that is still taken for one written by people."""

_NEW_MODE: Final = 0o600


class FileProblem(BrokerError):
    """A file that cannot be read or written. The line names it, and nothing was changed in it."""

    code: ClassVar[str] = "file"
    exit_code: ClassVar[int] = 74


class ChangedMeanwhile(FileProblem):
    """Somebody else wrote the file between our look and our writing: look again."""

    exit_code: ClassVar[int] = 75


@dataclass(frozen=True, slots=True)
class TextFile:
    """A file as it was when we looked.

    `path` is what a person calls it, `target` what that leads to when every link is followed. `text` is None where
    there is no file; a byte-order mark and line ends are part of it.
    """

    path: Path
    target: Path
    text: str | None
    found: os.stat_result | None = field(compare=False)


def read(path: Path, size_max: int = SIZE_MAX) -> TextFile:
    """Look at the file. Raises `FileProblem` for what is no text file of at most `size_max` bytes."""
    target = Path(os.path.realpath(path))
    try:
        # O_NONBLOCK: a FIFO in its place would otherwise hang us for ever.
        descriptor = os.open(target, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except FileNotFoundError:
        return TextFile(path, target, None, None)
    except OSError as error:
        raise _problem(path, "cannot be opened", error) from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise FileProblem(f"{path}: must be a regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(size_max + 1)
        if len(content) > size_max:
            raise FileProblem(f"{path}: larger than {size_max >> 20} MiB, so it is hardly such a file")
        return TextFile(path, target, content.decode(), found)
    except UnicodeDecodeError:
        raise FileProblem(f"{path}: not UTF-8; save it as UTF-8") from None
    except OSError as error:
        raise _problem(path, "cannot be read", error) from None
    finally:
        os.close(descriptor)


def check_replaceable(file: TextFile) -> None:
    """Find out, before anything is changed, whether `replace` may and can. Raises `FileProblem`."""
    quoted = shlex.quote(str(file.target))
    if file.found is not None:
        if file.found.st_uid != os.geteuid():
            raise FileProblem(f"{file.path}: belongs to uid {file.found.st_uid}, not to you, and would become yours")
        # A new file could take its place all the same, but who made it read-only meant it.
        if not file.found.st_mode & stat.S_IWUSR:
            raise FileProblem(
                f"{file.path}: is read-only; if a tool manages it, add the lines there, else run: chmod u+w {quoted}"
            )
    folder = next(place for place in file.target.parents if os.path.lexists(place))
    if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        raise FileProblem(f"{file.path}: the folder {folder} cannot be written")


def check_unchanged(file: TextFile) -> None:
    """Raise `ChangedMeanwhile` where the file is not as it was when we looked."""
    now = read(file.path)
    if (now.target, now.text) != (file.target, file.text):
        raise ChangedMeanwhile(
            f"{file.path}: somebody else changed it at this moment, so it was left alone; run this again"
        )


def replace(file: TextFile, text: str | None) -> None:
    """Make `text` the file's whole content, or remove it (None). A crash leaves the old content or the new.

    The mode, owner and extended attributes stay; a new file is 0600. Raises `ChangedMeanwhile`, `FileProblem`.
    """
    try:
        if text is None:
            check_unchanged(file)
            file.target.unlink(missing_ok=True)
        else:
            make_folder(file.target.parent)
            _swap(file, text.encode())
        _sync(file.target.parent)
    except OSError as error:
        raise _problem(file.path, "cannot be written", error) from None


def missing_folder(file: TextFile) -> str | None:
    """Name the topmost folder that `replace` would have to make; None where all are there."""
    missing = [place for place in file.target.parents if not os.path.lexists(place)]
    return str(missing[-1]) if missing else None


def remove_folders(file: TextFile, topmost: str | None) -> None:
    """Remove the folders above a file that is gone, up to the one that we made first, as far as they hold nothing."""
    for place in file.target.parents:
        if topmost is None or not place.is_relative_to(topmost):
            return
        try:
            place.rmdir()
        except OSError:  # it is gone, or somebody keeps other things in it
            return


def sweep(file: TextFile) -> None:
    """Remove what a `replace` left beside the file when it was killed."""
    _temporary(file).unlink(missing_ok=True)


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process; raise `ChangedMeanwhile` where another one holds it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ChangedMeanwhile(f"{folder}: another broker setup is at work; try again") from None
        yield
    finally:
        os.close(descriptor)


def _temporary(file: TextFile) -> Path:
    """Name the new file until it takes the old one's place: always the same, so that `sweep` finds it."""
    return file.target.with_name(f".{file.target.name}.broker-new")


def _swap(file: TextFile, content: bytes) -> None:
    sweep(file)
    temporary = _temporary(file)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(temporary, flags, _NEW_MODE), "wb") as out:
            out.write(content)
            out.flush()
            _take_after(temporary, file)
            os.fsync(out.fileno())
        check_unchanged(file)
        temporary.rename(file.target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _take_after(temporary: Path, file: TextFile) -> None:
    if file.found is None:
        return
    if file.found.st_gid != temporary.stat().st_gid:
        os.chown(temporary, -1, file.found.st_gid)
    shutil.copystat(file.target, temporary)
    os.utime(temporary)  # its content is new: who watches it by time must see that


def _sync(folder: Path) -> None:
    """Make the new name survive a power loss."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # some file systems cannot
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _problem(path: Path, what: str, error: OSError) -> FileProblem:
    return FileProblem(f"{path}: {what} ({error.strerror or 'no usable path'})")
