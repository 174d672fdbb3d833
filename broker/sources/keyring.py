"""`keyring`: an entry of the operating system's keyring."""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass, field
from typing import Final

from broker import os_keyring
from broker.errors import PermanentFetchError, TransientFetchError
from broker.model import Issued
from broker.secret import Secret
from broker.sources import answer
from broker.sources.blocking import Blocking
from broker.sources.interface import DEFAULT_TIMEOUT_S, NoSettings, PlainSource, SourceType


@dataclass(frozen=True, slots=True)
class KeyringSettings:
    """`service` and `username` name the entry."""

    service: str
    username: str

    def __post_init__(self) -> None:
        if not (self.service and self.username):
            raise ValueError("service and username must not be empty")


@dataclass(frozen=True, slots=True)
class KeyringFetcher:
    """Reads the entry, through a short-lived child process that a thread waits for. `served`: see `answer.token`."""

    settings: KeyringSettings
    served: bool = True
    timeout_s: float = DEFAULT_TIMEOUT_S
    _thread: Blocking = field(default_factory=lambda: Blocking("keyring"), compare=False)

    async def fetch(self) -> Issued:
        """Read the entry."""
        text = await self._thread.run(self._get)
        if text is None:
            raise PermanentFetchError(f"the keyring has no such entry; {self._how_to_store()}")
        try:
            return answer.token(text.reveal(), time.time(), served=self.served)
        except answer.BadAnswer as bad:
            raise PermanentFetchError(f"keyring entry: {bad}; {self._how_to_store()}") from None

    def changed(self) -> bool:
        """Keyrings cannot say without reading."""
        return False

    def _get(self) -> Secret | None:
        try:
            return os_keyring.ask([os_keyring.get(self.settings.service, self.settings.username)], self.timeout_s)[0]
        except os_keyring.NoKeyring as error:
            raise PermanentFetchError(f"{error}; then: broker refresh") from None
        except os_keyring.KeyringTrouble as error:
            raise TransientFetchError(str(error)) from None

    def _how_to_store(self) -> str:
        entry = shlex.join([self.settings.service, self.settings.username])
        return f"run: keyring set {entry}; then: broker refresh"


KEYRING: Final = SourceType(
    "keyring", NoSettings, KeyringSettings, lambda _settings, _context: PlainSource(KeyringFetcher), cacheable=False
)
