"""`env`: a variable of the daemon's own environment, read at each fetch."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from typing import Final

from broker.errors import PermanentFetchError
from broker.model import Issued
from broker.sources import answer
from broker.sources.interface import DEFAULT_TIMEOUT_S, NoSettings, PlainSource, SourceType

VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)


@dataclass(frozen=True, slots=True)
class EnvSettings:
    """`name`: the variable."""

    name: str

    def __post_init__(self) -> None:
        if not VARIABLE.fullmatch(self.name):
            raise ValueError("name must be a variable's name (letters, digits, _), not its value")


@dataclass(frozen=True, slots=True)
class EnvFetcher:
    """Reads the variable; the environment of a running process does not change, so failures are permanent.

    `served`: see `answer.token`.
    """

    settings: EnvSettings
    served: bool = True
    timeout_s: float = DEFAULT_TIMEOUT_S

    async def fetch(self) -> Issued:
        """Read the variable."""
        name = self.settings.name
        text = os.environ.get(name)
        if not text:
            state = "not set" if text is None else "empty"
            raise PermanentFetchError(f"{name} is {state} in the daemon's environment; set it, then: broker restart")
        try:
            return answer.token(text, time.time(), served=self.served)
        except answer.BadAnswer as bad:
            raise PermanentFetchError(f"{name} in the daemon's environment: {bad}; then: broker restart") from None

    def changed(self) -> bool:
        """Nothing can change."""
        return False


ENV: Final = SourceType(
    "env", NoSettings, EnvSettings, lambda _settings, _context: PlainSource(EnvFetcher), cacheable=False
)
