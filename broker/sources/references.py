"""`{ file = "PATH" }` and its like: where a setting that is a secret lives.

Each is read by the source type of its name, with that type's checks and errors; but as it is not served, it need not
be a key: a password may have blanks and umlauts.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final, Protocol

from broker.errors import PermanentFetchError, TransientFetchError
from broker.model import NAME, TOKEN, Issued
from broker.secret import Secret
from broker.sources.command import CommandFetcher, CommandSettings, CommandSourceSettings
from broker.sources.env import EnvFetcher, EnvSettings
from broker.sources.file import FileFetcher, FileSettings
from broker.sources.interface import Context, Fetcher, SecretPlace, Secrets
from broker.sources.keyring import KeyringFetcher, KeyringSettings
from broker.sources.local import LocalFetcher, LocalSettings

_KINDS: Final = ("keyring", "env", "file", "local", "command", "credential")


@dataclass(frozen=True, slots=True)
class Reference(SecretPlace):
    """Exactly one of the first six; `field` and `shared` belong to `file`."""

    keyring: str | None = None
    env: str | None = None
    file: str | None = None
    local: str | None = None
    command: tuple[str, ...] | None = None
    credential: str | None = None
    field: str | None = None
    shared: bool = False

    def __post_init__(self) -> None:
        given = [kind for kind in _KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"expected exactly one of {', '.join(_KINDS)}")
        if given != ["file"] and (self.field is not None or self.shared):
            raise ValueError("field and shared belong to file")
        try:
            self._check()
        except ValueError as error:
            raise ValueError(f"{given[0]}: {error}") from None

    def _check(self) -> None:
        """Make the settings that will be used, so that what is wrong with them is said when the config is read."""
        if self.credential is not None:
            if not NAME.fullmatch(self.credential):
                raise ValueError("expected the name of a credential")
        else:
            _settings(self)


_Settings = KeyringSettings | EnvSettings | FileSettings | LocalSettings | CommandSettings


def _settings(reference: Reference) -> _Settings:
    if reference.keyring is not None:
        service, slash, username = reference.keyring.rpartition("/")
        if not (service and slash and username):
            raise ValueError('expected "SERVICE/USERNAME"')
        return KeyringSettings(service, username)
    if reference.env is not None:
        return EnvSettings(reference.env)
    if reference.file is not None:
        return FileSettings(reference.file, reference.field, reference.shared)
    if reference.local is not None:
        return LocalSettings(reference.local)
    return CommandSettings(reference.command or ())


class Input(Protocol):
    """A secret that a source needs to sign in."""

    async def resolve(self) -> Secret:
        """Read it as it is now. Raises `TransientFetchError`, `PermanentFetchError` or `LoginRequired`."""

    def changed(self) -> bool:
        """Whether it is another one than `resolve` gave last. False where that cannot be told without asking."""


def bind(reference: Reference, context: Context, *, fresh: bool = False) -> Input:
    """Make it ready to be read; reading never overlaps. `fresh`: of a credential, each time a token of its own."""
    if reference.credential is not None:
        return _Token(context, reference.credential, fresh)
    match _settings(reference):
        case KeyringSettings() as settings:
            return _Fetched(KeyringFetcher(settings, served=False))
        case EnvSettings() as settings:
            return _Fetched(EnvFetcher(settings, served=False))
        case FileSettings() as settings:
            return _Fetched(FileFetcher(settings, served=False))
        case CommandSettings() as settings:
            return _Fetched(CommandFetcher(CommandSourceSettings(), settings, served=False))
        case LocalSettings() as settings:
            return _Stored(context.secrets, str(settings.name))


@dataclass(frozen=True, slots=True)
class _Fetched:
    """What a source type of ours reads."""

    fetcher: Fetcher

    async def resolve(self) -> Secret:
        try:
            async with asyncio.timeout(self.fetcher.timeout_s):
                return _text(await self.fetcher.fetch())
        except TimeoutError:
            raise TransientFetchError(f"a secret could not be read within {self.fetcher.timeout_s:g} s") from None

    def changed(self) -> bool:
        return self.fetcher.changed()


@dataclass(slots=True)
class _Stored:
    """A record of `broker secret set`."""

    secrets: Secrets
    name: str
    last: Secret | None = None
    resolved: bool = False

    async def resolve(self) -> Secret:
        self.last, self.resolved = None, True
        self.last = _text(await LocalFetcher(self.secrets, self.name, served=False).fetch())
        return self.last

    def changed(self) -> bool:
        try:
            return self.resolved and self.secrets.get(self.name) != self.last
        except TransientFetchError:  # locked: nobody can tell
            return False


@dataclass(frozen=True, slots=True)
class _Token:
    """Another credential's token. That it is replaced now and then is no news: the next sign-in asks for it anyway."""

    context: Context
    credential: str
    fresh: bool

    async def resolve(self) -> Secret:
        return await self.context.token(self.credential, fresh=self.fresh)

    def changed(self) -> bool:
        return False


def _text(issued: Issued) -> Secret:
    if TOKEN not in issued.parts:
        raise PermanentFetchError(f"expected a single secret here, found a credential of kind {issued.kind}")
    return issued.parts[TOKEN]
