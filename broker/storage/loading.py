"""Finds the key and reads the file: all that happens before the first record can be given. Blocks; for a thread."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from broker.secret import Secret
from broker.storage import disk
from broker.storage import header as heading
from broker.storage.header import SALT_BYTES, Cost, Header, Reason, Unreadable
from broker.storage.homes import Homes
from broker.storage.homes.interface import CHOICES, Absent, Home, Lock, Mark, NeedsPassphrase, Opened, Unreachable

if TYPE_CHECKING:  # at run time only where there is a key: it costs 8 MB
    from broker.storage.keys import RootKey

Warnings = dict[str, str]
"""Messages by code."""

NO_HOME: Final = (
    "there is no keyring here for the key that would encrypt it, so nothing secret is stored; choose a passphrase, on a"
    " terminal: broker secret set NAME. Without one: a keyring (gnome-keyring or KWallet, in a desktop session), the"
    ' service manager\'s broker-cache-key (systemd-creds), or persist = "passphrase" under [daemon] in the config, then:'
    " broker restart; then: broker unlock"
)
"""First the one command that does it for a person: it asks for the passphrase itself."""

_OLDER: Final = "storage-older"
_SET_ASIDE: Final = "storage-set-aside"
HAPPENED: Final = frozenset({_OLDER, _SET_ASIDE})
"""Warnings of what was done once; looking again does not find it any more."""

SWITCHED_OFF: Final = f'nothing secret is stored, since persist is "off" under [daemon]; choose {CHOICES}'


@dataclass(frozen=True, slots=True)
class Key:
    """The key to write with, and where the count of writes stands."""

    home: Home
    root: RootKey
    lock: Lock
    generation: int
    marked: Mark | None


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was found. Without a `key`, `problem` says why; `locked`: and there is a file that wants one.

    `persist`: the key's home. `due`: the file should be written anew, though no record changed.
    """

    persist: str
    key: Key | None = None
    records: dict[str, Secret] = field(default_factory=dict)
    problem: str = NO_HOME
    locked: bool = False
    wants_passphrase: bool = False
    due: bool = False
    warnings: Warnings = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _File:
    data: bytes
    header: Header

    @property
    def lock(self) -> Lock:
        """What it says of its key."""
        return Lock(self.header.salt, self.header.cost, is_new=False)


class _Stuck(Exception):
    """The file can neither be used nor moved away; it must not be overwritten. The message says why."""


def load(folder: Path, homes: Homes, passphrase: Secret | None = None, newest: Mark | None = None) -> Loaded:
    """Open the store in `folder`. Raises nothing: what went wrong is in the answer.

    `newest`: the last write that this process itself knows of, which counts where the key's home cannot.
    """
    if homes.is_off:
        return Loaded("off", warnings=_left_alone(folder), problem=SWITCHED_OFF)
    disk.clean(folder)
    return _Opening(folder, homes, passphrase, newest).loaded()


class _Opening:
    """One try to open a store."""

    def __init__(self, folder: Path, homes: Homes, passphrase: Secret | None, newest: Mark | None) -> None:
        self._folder = folder
        self._path = folder / disk.NAME
        self._homes = homes
        self._passphrase = passphrase
        self._newest = newest
        self._warnings: Warnings = {}
        self._file: _File | None = None

    def loaded(self) -> Loaded:
        persist = "off"
        try:
            self._file = self._read()
            home = self._homes.chosen(self._file.header.home if self._file else None)
            persist = home.name
            return self._opened(home)
        except _Stuck as stuck:
            self._warnings["storage-unreadable"] = str(stuck)
            return Loaded(persist, problem=str(stuck), warnings=self._warnings)
        except Absent as absent:
            if self._file is None and self._homes.is_auto:
                return self._without_home()
            return self._without_key(persist, absent)
        except Unreachable as unreachable:
            return self._without_key(persist, unreachable)

    def _read(self) -> _File | None:
        try:
            data = disk.read(self._folder)
            return None if data is None else _File(data, heading.parse(data))
        except Unreadable as unreadable:
            self._set_aside(unreadable)
            return None
        except OSError as error:
            raise _Stuck(f"{self._path}: cannot be read ({error.strerror}); it is left as it is") from None

    def _opened(self, home: Home) -> Loaded:
        file = self._file
        if file is None:
            lock = _new_lock(home)
            opened = home.open(lock, self._passphrase)
            return Loaded(home.name, _key(home, lock, opened, 0), warnings=self._warnings, due=_is_asked_for(home))
        same = file.header.home == home.name
        lock = file.lock if same else _new_lock(home)
        opened = home.open(lock, self._passphrase)
        before = opened if same else self._homes.named(file.header.home).open(file.lock, self._passphrase)
        try:
            records = _decode(file, before.material, before.mark or self._newest)
        except Unreadable as unreadable:
            if unreadable.reason is Reason.FOREIGN and file.header.home == "passphrase":
                raise NeedsPassphrase("this is not the passphrase; run: broker unlock") from None
            self._set_aside(unreadable)
            return Loaded(home.name, _key(home, lock, opened, 0), warnings=self._warnings, due=_is_asked_for(home))
        key = _key(home, lock, opened, file.header.generation)
        return Loaded(home.name, key, records, warnings=self._warnings, due=not same)

    def _set_aside(self, unreadable: Unreadable) -> None:
        try:
            target = disk.set_aside(self._folder, unreadable.reason)
        except OSError as error:
            raise _Stuck(
                f"{self._path}: {unreadable}; it cannot be set aside ({error.strerror}), so nothing is stored"
            ) from None
        code = _OLDER if unreadable.reason is Reason.OLDER else _SET_ASIDE
        self._warnings[code] = f"{self._path}: {unreadable}; set aside as {target.name}, and a new one begun"

    def _without_home(self) -> Loaded:
        """Where nobody set up a home, the passphrase that a person chose is one: the file will say so."""
        if self._passphrase is None:
            return Loaded("off", warnings=self._warnings)
        home = self._homes.named("passphrase")
        try:
            return self._opened(home)
        except Unreachable as unreachable:
            return self._without_key(home.name, unreachable)

    def _without_key(self, persist: str, why: Absent | Unreachable) -> Loaded:
        problem = str(why)
        wants_passphrase = isinstance(why, NeedsPassphrase)
        if self._file is not None and not wants_passphrase:
            problem += f"; then: broker unlock. {self._path} is kept until then; to give it up: rm it"
        if not wants_passphrase:
            self._warnings["storage-key"] = problem
        return Loaded(
            persist,
            problem=problem,
            locked=self._file is not None,
            wants_passphrase=wants_passphrase,
            warnings=self._warnings,
        )


def _decode(file: _File, material: bytes, mark: Mark | None) -> dict[str, Secret]:
    from broker.storage import records  # noqa: PLC0415  # loads cryptography, now that there is a key
    from broker.storage.keys import RootKey  # noqa: PLC0415  # see above

    header, values = records.decode(file.data, RootKey(material))
    if mark is not None and mark.store != header.salt:
        raise Unreadable(Reason.OLDER, "it is not the one that was last written here")
    if mark is not None and header.generation < mark.generation:
        gone = f"{header.generation} of {mark.generation} writes"
        raise Unreadable(Reason.OLDER, f"it is an older one put back ({gone}), and could hold what was revoked since")
    try:
        return {name: Secret(value.decode()) for name, value in values.items()}
    except UnicodeDecodeError:
        raise Unreadable(Reason.CORRUPT, "its records are no text") from None


def _key(home: Home, lock: Lock, opened: Opened, generation: int) -> Key:
    """Go on counting where the home stands, under the name it knows: no crash can then make our own file look old."""
    from broker.storage.keys import RootKey  # noqa: PLC0415  # loads cryptography, now that there is a key

    mark = opened.mark
    if mark is not None:
        lock = Lock(mark.store, lock.cost, lock.is_new)
        generation = max(generation, mark.generation)
    return Key(home, RootKey(opened.material), lock, generation, mark)


def _new_lock(home: Home) -> Lock:
    return Lock(os.urandom(SALT_BYTES), Cost() if _is_asked_for(home) else None, is_new=True)


def _is_asked_for(home: Home) -> bool:
    """Whether the key is a person's passphrase: a new one is tied down by a file at once, so that it can be checked."""
    return home.name == "passphrase"


def _left_alone(folder: Path) -> Warnings:
    path = folder / disk.NAME
    if not os.path.lexists(path):
        return {}
    return {"storage-off": f'{path} is neither read nor written (persist = "off"); remove it, or change persist'}
