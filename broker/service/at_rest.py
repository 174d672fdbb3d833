"""What of one credential is kept for the next run: the token in hand, as long as it is any good."""

from __future__ import annotations

from broker.engine.vocabulary import Held, Receipt
from broker.service.cache import TokenCache


class AtRest:
    """The record of one credential; without a `cache` nothing is kept."""

    def __init__(self, cache: TokenCache | None) -> None:
        self._cache = cache
        self._written = False
        self._refused = 0

    def receipt(self) -> Receipt | None:
        """Return what an earlier run kept, if it is of these settings. Raises `Locked`."""
        if self._cache is None:
            return None
        found = self._cache.receipt()
        self._written = True
        return found

    def keep(self, held: Held) -> None:
        """Keep this token in place of the one before."""
        if held.issued.borrowed:
            self.discard()  # its source gives it back when it is closed: kept, it would come back dead
        elif self._cache is not None and held.serial != self._refused:
            self._cache.keep(held)
            self._written = True

    def refuse(self, serial: int) -> None:
        """Upstream refused this token: it is not to come back."""
        self._refused = serial
        self.discard()

    def discard(self) -> None:
        """What is dead or refused must not come back, not even after `kill -9`."""
        if self._cache is not None and self._written:
            self._cache.discard()
            self._written = False

    @property
    def holds_one(self) -> bool:
        """Whether the next run will find a token."""
        return self._cache is not None and self._written and self._cache.is_there
