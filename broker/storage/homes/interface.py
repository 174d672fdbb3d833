"""Where the at-rest key can live."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol

from broker.errors import StorageError
from broker.secret import Secret
from broker.storage.header import Cost

CHOICES: Final = (
    "a keyring (gnome-keyring or KWallet, in a desktop session), the service manager's broker-cache-key"
    ' (systemd-creds), or a passphrase (persist = "passphrase" under [daemon] in the config, then: broker restart;'
    " then: broker unlock)"
)
"""What a person can choose from, for messages."""


class Absent(StorageError):
    """There is no such home on this system, and nobody set one up."""


class Unreachable(StorageError):
    """It is there, but gives no key now."""


class NeedsPassphrase(Unreachable):
    """A person must type it."""


@dataclass(frozen=True, slots=True)
class Lock:
    """What a file's header says of its key, or what a new file's will. `cost`: how a passphrase is stretched."""

    salt: bytes
    cost: Cost | None
    is_new: bool


@dataclass(frozen=True, slots=True)
class Mark:
    """The last write that a home remembers: of which store, and its generation."""

    store: bytes
    generation: int


@dataclass(frozen=True, slots=True)
class Opened:
    """A home's answer. `material` is what the key is made of; `mark` is None where it remembers nothing, or cannot."""

    material: bytes = field(repr=False)
    mark: Mark | None = None


class Home(Protocol):
    """One place for the key. Its calls block."""

    name: str
    counts: bool
    """Whether it remembers a mark."""

    def open(self, lock: Lock, passphrase: Secret | None) -> Opened:
        """Give the key, made now if there was none. Raises `Absent`, `Unreachable`."""

    def remember(self, mark: Mark) -> None:
        """Remember the newest write, so that an older file put back is noticed. Raises `Unreachable`."""
