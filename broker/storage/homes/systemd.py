"""The key in a credential that the service manager hands over decrypted (systemd.exec(5), "Credentials")."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from broker.secret import Secret
from broker.storage.homes.interface import Absent, Lock, Mark, Opened, Unreachable

NAME: Final = "broker-cache-key"
MATERIAL_MIN: Final = 32
"""Bytes; fewer could be guessed."""

_MATERIAL_MAX: Final = 1 << 20  # systemd's own limit on all of a unit's credentials
_MAKE: Final = f"head -c 32 /dev/urandom | systemd-creds encrypt --user --name={NAME} - FILE"
_HANDED_OVER: Final = f"LoadCredentialEncrypted={NAME}:FILE in the unit hands it over (systemd 256 or later)"


class SystemdHome:
    """`$CREDENTIALS_DIRECTORY/broker-cache-key`."""

    name = "systemd"
    counts = False

    def __init__(self, env: Mapping[str, str]) -> None:
        self._folder = env.get("CREDENTIALS_DIRECTORY", "")

    def is_there(self) -> bool:
        """Whether somebody set this credential up, right or wrong."""
        return bool(self._folder) and os.path.lexists(Path(self._folder, NAME))

    def open(self, lock: Lock, passphrase: Secret | None) -> Opened:  # noqa: ARG002  # it needs neither
        """Read the credential. Raises `Absent`, `Unreachable`."""
        if not self._folder:
            raise Absent(
                f"the service manager handed over no credentials ($CREDENTIALS_DIRECTORY is not set); {_HANDED_OVER}"
            )
        return Opened(_read(Path(self._folder, NAME)))

    def remember(self, mark: Mark) -> None:
        """Do nothing: such a credential cannot be written."""


def _read(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            _check(path, os.fstat(descriptor))
            material = os.read(descriptor, _MATERIAL_MAX)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise Absent(f"{path}: there is no such credential; {_HANDED_OVER}") from None
    except OSError as error:
        raise Unreachable(f"{path}: cannot be read ({error.strerror}); {_HANDED_OVER}") from None
    if len(material) < MATERIAL_MIN:
        raise Unreachable(f"{path}: {len(material)} bytes, and a key needs {MATERIAL_MIN}; make one: {_MAKE}")
    return material


def _check(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise Unreachable(f"{path}: must be a regular file; {_HANDED_OVER}")
    if found.st_uid not in {0, os.geteuid()} or found.st_mode & 0o007:
        # The group's bits are not looked at: systemd grants us access by an ACL, whose mask stands in their place.
        raise Unreachable(f"{path}: others could read or replace it (mode {found.st_mode & 0o777:04o}); {_HANDED_OVER}")
