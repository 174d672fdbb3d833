"""`file`: a file that something else keeps fresh (a mounted secret, a projected token, another tool's cache)."""

from __future__ import annotations

import os
import shlex
import stat
import time
from dataclasses import dataclass, field
from typing import Final

from broker.errors import PermanentFetchError, TransientFetchError
from broker.model import Issued
from broker.sources import answer
from broker.sources.blocking import Blocking
from broker.sources.inputs import Inputs, version
from broker.sources.interface import DEFAULT_TIMEOUT_S, NoSettings, PlainSource, SourceType

_TEXT_MAX: Final = 64 * 1024
_JSON_MAX: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class FileSettings:
    """`path` (absolute, or from `~`); `field`: where in it, as JSON; `shared`: others may read it too."""

    path: str
    field: str | None = None
    shared: bool = False

    def __post_init__(self) -> None:
        expanded = os.path.expanduser(self.path)  # noqa: PTH111  # Path.expanduser raises instead
        if not expanded.startswith("/") or "\0" in expanded:
            raise ValueError("path must be absolute or begin with ~/")
        if self.field is not None and not answer.is_path(self.field):
            raise ValueError("field must be names joined by dots")
        object.__setattr__(self, "path", expanded)


@dataclass(frozen=True, slots=True)
class FileFetcher:
    """Reads the file. `served`: see `answer.token`."""

    settings: FileSettings
    served: bool = True
    timeout_s: float = DEFAULT_TIMEOUT_S
    _thread: Blocking = field(default_factory=lambda: Blocking("file"), compare=False)
    _inputs: Inputs = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_inputs", Inputs(self.settings.path))

    async def fetch(self) -> Issued:
        """Read the file, in a thread: it may be on a file server that does not answer."""
        raw = await self._thread.run(self._content)
        try:
            return answer.token(self._text(raw), time.time(), served=self.served)
        except answer.BadAnswer as bad:
            raise PermanentFetchError(f"{self.settings.path}: {bad}") from None

    def changed(self) -> bool:
        """Notice that the file was written or replaced."""
        return self._inputs.changed()

    def _text(self, raw: bytes) -> str:
        if self.settings.field is None:
            return answer.decode(raw)
        try:
            content = answer.json_object(answer.decode(raw))
        except answer.BadAnswer as bad:  # perhaps caught in the middle of being written
            raise TransientFetchError(f"{self.settings.path}: {bad}") from None
        return answer.text_at(content, self.settings.field)

    def _content(self) -> bytes:
        path = self.settings.path
        self._inputs.note()
        try:
            # O_NONBLOCK: a FIFO put in its place would hang the fetch.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
            try:
                return self._read_checked(descriptor)
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            raise TransientFetchError(f"{path}: not there (yet)") from None
        except PermissionError:
            raise PermanentFetchError(f"{path}: you may not read it") from None
        except OSError as error:
            raise TransientFetchError(f"{path}: cannot be read ({error.strerror})") from None

    def _read_checked(self, descriptor: int) -> bytes:
        path, limit = self.settings.path, _TEXT_MAX if self.settings.field is None else _JSON_MAX
        before = os.fstat(descriptor)
        self._check(before)
        raw = b""
        while len(raw) <= limit and (more := os.read(descriptor, limit + 1 - len(raw))):
            raw += more
        if len(raw) > limit:
            raise PermanentFetchError(f"{path}: larger than {limit // 1024} KiB")
        if not raw or version(os.fstat(descriptor)) != version(before):
            raise TransientFetchError(f"{path}: empty, or being written just now")
        return raw

    def _check(self, found: os.stat_result) -> None:
        # On the open descriptor: a file that is swapped between check and read makes no difference.
        path, quoted = self.settings.path, shlex.quote(self.settings.path)
        if not stat.S_ISREG(found.st_mode):
            raise PermanentFetchError(f"{path}: must be a regular file")
        if found.st_uid not in {0, os.geteuid()}:
            # Somebody else's token would send this user's work to that somebody's account.
            raise PermanentFetchError(f"{path}: belongs to uid {found.st_uid}; run: sudo chown {os.geteuid()} {quoted}")
        if found.st_mode & 0o022:
            raise PermanentFetchError(f"{path}: others can write it; run: chmod go-w {quoted}")
        if found.st_mode & 0o044 and not self.settings.shared:
            raise PermanentFetchError(
                f"{path}: others can read it; run: chmod go= {quoted}, or set shared = true if that is meant"
            )


FILE: Final = SourceType(
    "file", NoSettings, FileSettings, lambda _settings, _context: PlainSource(FileFetcher), cacheable=False
)
