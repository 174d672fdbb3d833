"""`keyring`: an entry of the operating system's keyring, through the `keyring` library.

The library takes a tenth of a second to import and its backends may wait for a person: both happen in a thread,
at the first fetch.
"""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass, field
from typing import Final

from broker.errors import PermanentFetchError, TransientFetchError
from broker.model import Issued
from broker.sources import answer
from broker.sources.blocking import Blocking
from broker.sources.interface import DEFAULT_TIMEOUT_S, NoSettings, PlainSource, SourceType

_NO_BACKEND: Final = (
    "this system has no keyring that works; install one (on Linux: gnome-keyring or KWallet, in a desktop session),"
    " then: broker restart"
)


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
    """Reads the entry."""

    settings: KeyringSettings
    timeout_s: float = DEFAULT_TIMEOUT_S
    _thread: Blocking = field(default_factory=lambda: Blocking("keyring"), compare=False)

    async def fetch(self) -> Issued:
        """Read the entry, in a thread."""
        text = await self._thread.run(self._get)
        if text is None:
            raise PermanentFetchError(f"the keyring has no such entry; {self._how_to_store()}")
        try:
            return answer.token(text, time.time())
        except answer.BadAnswer as bad:
            raise PermanentFetchError(f"keyring entry: {bad}; {self._how_to_store()}") from None

    def changed(self) -> bool:
        """Keyrings cannot say without reading."""
        return False

    def _get(self) -> str | None:
        try:
            import keyring  # noqa: PLC0415  # late: a daemon without keyring credentials never loads it
            from keyring import errors  # noqa: PLC0415  # see above
        except ImportError:
            raise PermanentFetchError(
                "the keyring library cannot be loaded; run: pip install --force-reinstall keyring"
            ) from None
        try:
            return keyring.get_password(self.settings.service, self.settings.username)
        except errors.NoKeyringError:
            raise PermanentFetchError(_NO_BACKEND) from None
        except errors.KeyringLocked:
            raise TransientFetchError("the keyring is locked; unlock it (sign in to the desktop session)") from None
        except Exception as error:  # noqa: BLE001  # backends raise anything
            # By type only: what a backend writes into its message is not ours to vouch for.
            raise TransientFetchError(f"the keyring failed ({type(error).__name__}); see: keyring diagnose") from None

    def _how_to_store(self) -> str:
        entry = shlex.join([self.settings.service, self.settings.username])
        return f"run: keyring set {entry}; then: broker refresh"


KEYRING: Final = SourceType(
    "keyring", NoSettings, KeyringSettings, lambda _settings, _context: PlainSource(KeyringFetcher), cacheable=False
)
