"""What is made of a credential while the daemon runs: the same identity with fewer scopes, or for another audience.

A metadata server's clients name scopes and audiences that no config can list; each of them needs the care that any
credential gets: one fetch for all who wait, and never a dead token.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, Final

from broker.service.keeper import Keeper

MOST: Final = 16
"""Kept for one credential, those last asked for: a program that names ever new audiences must not fill the memory."""


class Relatives:
    """The keepers of what was made of one credential, by the settings that each is fetched by."""

    def __init__(self) -> None:
        self._kept: list[tuple[Any, Keeper]] = []
        self._leaving: dict[asyncio.Task[None], Keeper] = {}

    def __iter__(self) -> Iterator[Keeper]:
        return iter([keeper for _, keeper in self._kept])

    @property
    def leaving(self) -> list[Keeper]:
        """Those that were let go and still have somebody to answer."""
        return list(self._leaving.values())

    def of(self, settings: Any, make: Callable[[Any], Keeper]) -> Keeper:  # noqa: ANN401  # each type has a settings class of its own
        """Return the keeper of these settings; where there is none yet, make it, and let the least asked for go."""
        found = next((kept for kept in self._kept if kept[0] == settings), None)
        if found is not None:
            self._kept.remove(found)
        else:
            found = settings, make(settings)
        self._kept.append(found)
        while len(self._kept) > MOST:
            self._let_go(self._kept.pop(0)[1])
        return found[1]

    def clear(self) -> None:
        """Let all of them go."""
        kept, self._kept = self._kept, []
        for _, keeper in kept:
            self._let_go(keeper)

    async def close(self) -> None:
        """Stop every fetch, also of those that were let go."""
        keepers, self._kept = self._kept, []
        for task in self._leaving:
            task.cancel()
        await asyncio.gather(*self._leaving, *(keeper.close() for _, keeper in keepers), return_exceptions=True)

    def _let_go(self, keeper: Keeper) -> None:
        keeper.retire()  # who waits for it is answered yet
        task = asyncio.create_task(_close_when_settled(keeper))
        self._leaving[task] = keeper
        task.add_done_callback(self._leaving.pop)


async def _close_when_settled(keeper: Keeper) -> None:
    try:
        await keeper.settled()
    finally:
        await keeper.close()
