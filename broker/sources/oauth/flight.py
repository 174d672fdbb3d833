"""A refresh whose answer outlives this process: the request is made by a child, which seals the answer into a file.

A provider that gives each refresh token once spends the old one as it answers. Were the daemon killed between that and
storing the new one, the sign-in would be lost; and the old one, shown again, would look stolen. So whoever comes next
finds the answer in the file, or the child still at work, or that nothing was sent yet.

The file is locked (flock) for as long as the child lives; the kernel lets go of that when it ends, however it ends. The
key that opens it is in the encrypted store alone.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Final

from broker import paths
from broker.errors import TransientFetchError
from broker.secret import Secret
from broker.sources.web.server import Server

START_S: Final = 10.0
"""How long the child may take to be there, on a busy machine."""
LONGEST: Final = 3
"""The child gives up after so many times the time-out of one call: that counts each read anew."""
FILE_MAX: Final = 8 * 1024 * 1024

_MODULE: Final = "broker.sources.oauth.courier"
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_POLL_S: Final = 0.05
_PASSED_ON: Final = frozenset(
    {
        "HOME", "PATH", "LANG", "LC_ALL", "SSL_CERT_FILE", "SSL_CERT_DIR",
        "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Landed:
    """What became of it. `outcome`: what the courier says; None where it was killed, and then whether it had `sent`."""

    outcome: Mapping[str, Any] | None
    sent: bool = False


class Flight:
    """One refresh. `name` names the source among others; `key` opens the answer, 32 random bytes in base64url."""

    def __init__(self, name: str, key: Secret) -> None:
        self._key = key
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        self._path = paths.state_dir() / f"login-{digest}.sealed"

    def carry(self, server: Server, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Have the request made; return what the courier says. Blocks. Raises `TransientFetchError`."""
        job = {"server": asdict(server), "request": request, "key": self._key.reveal(), "mark": self.mark}
        try:
            descriptor = self._locked_anew()
        except OSError as error:
            raise TransientFetchError(f"{self._path}: cannot be written ({error.strerror})") from None
        try:
            courier = _courier(descriptor)
        except OSError as error:
            raise TransientFetchError(f"{sys.executable} cannot be started ({error.strerror})") from None
        finally:
            os.close(descriptor)  # the child alone has the lock from here on
        with suppress(subprocess.TimeoutExpired):
            courier.communicate(json.dumps(job).encode(), START_S + LONGEST * server.timeout)
        landed = self.landed(0)
        if landed.outcome is None:
            raise TransientFetchError(
                "the process that asks the provider ended without a word (killed, or a full disk?)"
            )
        return landed.outcome

    def landed(self, patience_s: float) -> Landed:
        """Wait for the end of a courier that may still be at work, and take its answer. Blocks.

        Raises `TransientFetchError` where it works on.
        """
        try:
            with os.fdopen(os.open(self._path, _READ), "rb") as file:
                _wait_for_lock(file.fileno(), patience_s)
                content = file.read(FILE_MAX)
        except OSError:  # none was ever started
            return Landed(None)
        mark, _, sealed = content.partition(b"\n")
        sent = mark == self.mark.encode()
        return Landed(_opened(sealed, self._key) if sent and sealed else None, sent)

    def remove(self) -> None:
        """What it holds is stored elsewhere by now."""
        with suppress(OSError):
            self._path.unlink()

    @property
    def mark(self) -> str:
        """What the courier writes before it sends anything; it tells one flight's file from another's."""
        return hashlib.sha256(b"flight " + self._key.reveal().encode()).hexdigest()[:16]

    def _locked_anew(self) -> int:
        folder = paths.private_folder(self._path.parent)
        descriptor = os.open(folder / self._path.name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor


def _courier(answer: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        # As for the keyring: no PYTHON* variables and no module of the current folder's.
        [sys.executable, "-E", "-P", "-m", _MODULE],
        env={name: value for name, value in os.environ.items() if name in _PASSED_ON},
        cwd="/",
        stdin=subprocess.PIPE,  # everybody can read a command line
        stdout=answer,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C on the daemon's terminal is not for it
    )


def _wait_for_lock(descriptor: int, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise TransientFetchError("the last refresh is still under way") from None
        time.sleep(_POLL_S)


def _opened(sealed: bytes, key: Secret) -> Mapping[str, Any] | None:
    from broker.sources.oauth import seal  # noqa: PLC0415  # late: only who refreshes pays for the library

    return seal.opened(sealed, key.reveal())
