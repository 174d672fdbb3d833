"""The tokens of a make-believe company: minted on demand, dead after their lifetime, revocable by hand.

The fake upstream accepts exactly these, and a `command` source gets them by running this file as a program
(`python mint.py URL`), so that a test can compare what was issued with what arrived.
"""

from __future__ import annotations

import itertools
import sys
import threading
import time
import urllib.request
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Minted:
    """One token, with its wall-clock birth and death (epoch seconds); `expires_at` is None for one without end."""

    text: str
    issued_at: float
    expires_at: float | None


@dataclass(slots=True)
class Mint:
    """Issues tokens and knows which of them are good. Safe to use from any thread.

    `lifetime_s`: life of tokens minted from now on, None for endless. `delay_s`: how long minting takes.
    """

    lifetime_s: float | None = None
    delay_s: float = 0.0
    issued: list[Minted] = field(default_factory=list)
    _revoked: set[str] = field(default_factory=set)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def mint(self) -> Minted:
        """Issue the next token: `fake-token-1`, `fake-token-2`, ..."""
        time.sleep(self.delay_s)
        with self._lock:
            now = time.time()
            expires_at = None if self.lifetime_s is None else now + self.lifetime_s
            token = Minted(f"fake-token-{next(self._numbers)}", now, expires_at)
            self.issued.append(token)
            return token

    def revoke(self, *texts: str) -> None:
        """Let these tokens, or every one issued so far, be refused from now on."""
        with self._lock:
            self._revoked.update(texts or (token.text for token in self.issued))

    def accepts(self, text: str) -> bool:
        """Whether this token is one of ours, still alive and not revoked."""
        with self._lock:
            token = next((token for token in self.issued if token.text == text), None)
            if token is None or text in self._revoked:
                return False
            return token.expires_at is None or time.time() < token.expires_at

    @property
    def count(self) -> int:
        """How many tokens were issued: how often the source was asked."""
        return len(self.issued)


if __name__ == "__main__":
    with urllib.request.urlopen(sys.argv[1]) as answer:  # noqa: S310  # the test's own server on loopback
        sys.stdout.write(answer.read().decode())
