"""AWS keys on their way from an identity to a role."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from broker.clock import Now
from broker.secret import Secret

_SHARED: Final = 1 / 4
_LASTING_S: Final = 60.0
"""For how long keys without an end count as new."""
_CALLS_S: Final = 60.0
_JUMP_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Session:
    """Keys, and what is known of them. `expires_at`: by this machine's wall clock, epoch seconds; None: never.

    `details` may be shown: `arn`, `account_id`, `role`.
    """

    access_key_id: str
    secret_access_key: Secret
    session_token: Secret | None = None
    expires_at: float | None = None
    details: Mapping[str, str] = field(default_factory=dict)

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """What must not be seen in a message."""
        known = (Secret(self.access_key_id), self.secret_access_key, self.session_token)
        return tuple(secret for secret in known if secret is not None)


@dataclass(frozen=True, slots=True)
class Kept:
    """A session for all who ask, and when it was made."""

    session: Session
    made: Now

    def is_young(self, now: Now) -> bool:
        """Whether a new one would be no better: for a quarter of its life; the engine replaces none before that either."""
        return not self._jumped(now) and now.mono - self.made.mono < (
            _LASTING_S if self._life_s is None else _SHARED * self._life_s
        )

    def is_usable(self, now: Now) -> bool:
        """Whether it lives long enough for a call."""
        left_s = (self._life_s or 0.0) - (now.mono - self.made.mono)
        return self.is_young(now) or (not self._jumped(now) and left_s > _CALLS_S)

    @property
    def _life_s(self) -> float | None:
        return None if self.session.expires_at is None else self.session.expires_at - self.made.wall

    def _jumped(self, now: Now) -> bool:
        """Whether the clock was set since: nobody knows by which of its times the session ends."""
        return abs((now.wall - self.made.wall) - (now.mono - self.made.mono)) > _JUMP_S


class Identity(Protocol):
    """Where the keys to begin with come from."""

    async def session(self) -> Session:
        """Get keys, as new as they can be had. Raises `TransientFetchError`, `PermanentFetchError`, `LoginRequired`."""

    def changed(self, *, failed: bool) -> bool:
        """Whether another try would use other inputs than the last one, which `failed` or not.

        Called off the event loop.
        """
