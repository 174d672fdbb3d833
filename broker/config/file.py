"""The config file's bytes, read so that nobody else can have written them and nothing can block on them."""

from __future__ import annotations

import codecs
import os
import shlex
import stat
from pathlib import Path
from typing import Final

from broker.errors import ConfigError

MAX_BYTES: Final = 1024 * 1024

_HOW_TO_START: Final = "run: broker secret set anthropic, then: broker setup claude-code"
"""What a newcomer needs who has a key; setup writes the config for it."""


def read_text(path: Path) -> str:
    """Read the file at `path`, links followed (dotfile managers make them); raise `ConfigError` with one line."""
    try:
        # O_NONBLOCK: a FIFO put in its place would otherwise hang the daemon's start for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except FileNotFoundError:
        raise ConfigError([f"{path}: there is no config yet; {_HOW_TO_START}"]) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise ConfigError([f"{path}: cannot be opened ({_reason(error)})"]) from None
    try:
        _check(path, os.fstat(descriptor))
        return _decode(path, _content(path, descriptor))
    finally:
        os.close(descriptor)


def _check(path: Path, found: os.stat_result) -> None:
    # Whoever can write this file names the command that runs as us: so the checks are on the open descriptor,
    # where a file that is swapped between check and read makes no difference.
    quoted = shlex.quote(str(path))
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError([f"{path}: must be a regular file"])
    if found.st_uid not in {0, os.geteuid()}:
        raise ConfigError(
            [f"{path}: belongs to uid {found.st_uid}, not to you; run: sudo chown {os.geteuid()} {quoted}"]
        )
    if found.st_mode & 0o022:
        raise ConfigError(
            [f"{path}: others can write it (mode {stat.S_IMODE(found.st_mode):04o}); run: chmod go-w {quoted}"]
        )


def _content(path: Path, descriptor: int) -> bytes:
    content = b""
    try:
        while len(content) <= MAX_BYTES and (more := os.read(descriptor, MAX_BYTES + 1 - len(content))):
            content += more
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read ({_reason(error)})"]) from None
    if len(content) > MAX_BYTES:
        raise ConfigError([f"{path}: larger than 1 MiB, so it is hardly a config"])
    return content


def _decode(path: Path, content: bytes) -> str:
    if content.startswith(codecs.BOM_UTF8):  # as some editors of Windows put it; TOML 1.0 knows none
        raise ConfigError([f"{path}: begins with a byte-order mark; save the file as UTF-8 without one"])
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - (content.rfind(b"\n", 0, error.start) + 1) + 1
        raise ConfigError([f"{path}: line {line}, byte {column}: not UTF-8; save the file as UTF-8"]) from None


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or "not a usable path"
