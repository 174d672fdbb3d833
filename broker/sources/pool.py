"""`pool`: several credentials as one. A member that upstream refuses or limits rests, and another one serves.

Who gets which member's token depends on who asks, so the daemon goes to the members themselves
(`broker/service/pools.py`); what stands here serves whoever has no daemon, such as the doctor.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import Final, Literal

from broker.errors import FetchError, LoginRequired, PermanentFetchError, TransientFetchError
from broker.model import NAME, Issued
from broker.sources import answer
from broker.sources.interface import Context, Fetcher, NoSettings, Pooling, SourceType

TIMEOUT_S: Final = 90.0
"""Members are asked one after the other, and each has its own time-out."""


@dataclass(frozen=True, slots=True)
class PoolSettings(Pooling):
    """`members`: credentials of the config, each a single token; `strategy`: see `engine.pool.Strategy`."""

    members: tuple[str, ...]
    strategy: Literal["failover", "round-robin", "least-recently-limited"] = "failover"

    def __post_init__(self) -> None:
        if not self.members:
            raise ValueError('members must name at least one credential, such as ["a", "b"]')
        if not all(NAME.fullmatch(member) for member in self.members):
            raise ValueError("members must be names of credentials, never keys")
        twice = [member for member, times in Counter(self.members).items() if times > 1]
        if twice:
            raise ValueError(f"members names {twice[0]} twice")


@dataclass(frozen=True, slots=True)
class PoolFetcher:
    """Gets the token of the first member that has one."""

    members: tuple[str, ...]
    context: Context
    timeout_s: float = TIMEOUT_S

    async def fetch(self) -> Issued:
        """Ask one after the other."""
        failed: dict[str, FetchError] = {}
        for member in self.members:
            try:
                return answer.token((await self.context.token(member)).reveal(), time.time())
            except FetchError as error:
                failed[member] = error
            except answer.BadAnswer as bad:
                failed[member] = PermanentFetchError(str(bad))
        raise _all(failed)

    def changed(self) -> bool:
        """Depends on its members alone, each of which is looked after by itself."""
        return False


@dataclass(frozen=True, slots=True)
class PoolSource:
    """The pool."""

    settings: PoolSettings
    context: Context

    def fetcher(self, _settings: NoSettings, _credential: str) -> Fetcher:
        """Bind nothing: all there is to say is on the source."""
        return PoolFetcher(self.settings.members, self.context)

    async def close(self) -> None:
        """Nothing was borrowed."""


def _all(failed: dict[str, FetchError]) -> FetchError:
    """Say of all members what each lacks; trying again makes sense if it does for one of them."""
    errors = failed.values()
    worst = next(
        (kind for kind in (TransientFetchError, LoginRequired) if any(isinstance(error, kind) for error in errors)),
        PermanentFetchError,
    )
    return worst("no member has a token: " + "; ".join(f"{name}: {str(error)[:160]}" for name, error in failed.items()))


POOL: Final = SourceType("pool", PoolSettings, NoSettings, PoolSource, cacheable=False)
