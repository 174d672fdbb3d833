"""`demo`: mints random tokens, slow and failing as wished, for trying things out without any account."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from dataclasses import dataclass
from typing import Final

from broker.durations import Duration
from broker.errors import TransientFetchError
from broker.model import Issued
from broker.sources.interface import DEFAULT_TIMEOUT_S, NoSettings, PlainSource, SourceType

_LIFETIME: Final = Duration(60)


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """`lifetime` of each token, `delay` before each answer (seconds), and the share of fetches that fail."""

    lifetime: Duration = _LIFETIME
    delay: Duration | None = None
    failure_rate: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.failure_rate <= 1:
            raise ValueError("failure_rate must be from 0 to 1")


@dataclass(frozen=True, slots=True)
class DemoFetcher:
    """Mints a new token at each fetch."""

    settings: DemoSettings

    @property
    def timeout_s(self) -> float:
        """Leave room for the delay that was asked for."""
        return (self.settings.delay or 0.0) + DEFAULT_TIMEOUT_S

    async def fetch(self) -> Issued:
        """Mint one."""
        await asyncio.sleep(self.settings.delay or 0.0)
        if random.random() < self.settings.failure_rate:  # noqa: S311  # decides nothing secret
            raise TransientFetchError("the demo source failed, as its failure_rate asks")
        return Issued.token(f"demo-{secrets.token_urlsafe(24)}", time.time() + self.settings.lifetime)

    def changed(self) -> bool:
        """Depends on nothing."""
        return False


DEMO: Final = SourceType("demo", NoSettings, DemoSettings, lambda _settings, _context: PlainSource(DemoFetcher))
