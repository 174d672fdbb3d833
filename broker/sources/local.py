"""`local`: what `broker secret set` put into the encrypted store on this machine."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from broker.errors import PermanentFetchError
from broker.model import NAME, Issued
from broker.sources import answer
from broker.sources.interface import DEFAULT_TIMEOUT_S, Context, Fetcher, NoSettings, Secrets, SourceType


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """`name`: the stored secret's; the credential's own if it is not given."""

    name: str | None = None

    def __post_init__(self) -> None:
        if self.name is not None and not NAME.fullmatch(self.name):
            raise ValueError("name must be a stored secret's name (letters, digits and . _ -), not its value")


@dataclass(frozen=True, slots=True)
class LocalFetcher:
    """Reads the store's memory. `served`: see `answer.token`."""

    secrets: Secrets
    name: str
    served: bool = True
    timeout_s: float = DEFAULT_TIMEOUT_S

    async def fetch(self) -> Issued:
        """Look it up."""
        secret = self.secrets.get(self.name)
        how = f"run: broker secret set {self.name}"
        if secret is None:
            raise PermanentFetchError(f"no secret is stored as {self.name}; {how}")
        try:
            return answer.token(secret.reveal(), time.time(), served=self.served)
        except answer.BadAnswer as bad:
            raise PermanentFetchError(f"stored secret {self.name}: {bad}; {how}") from None

    def changed(self) -> bool:
        """Need not tell: who changes the record drops the token that came from it (`SourceType.record`)."""
        return False


@dataclass(frozen=True, slots=True)
class LocalSource:
    """The store."""

    context: Context

    def fetcher(self, settings: LocalSettings, credential: str) -> Fetcher:
        """Bind one name."""
        return LocalFetcher(self.context.secrets, settings.name or credential)

    async def close(self) -> None:
        """Nothing was borrowed."""


LOCAL: Final = SourceType(
    "local",
    NoSettings,
    LocalSettings,
    lambda _settings, context: LocalSource(context),
    cacheable=False,
    record=lambda settings, credential: settings.name or credential,
)
