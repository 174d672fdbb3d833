"""AWS keys on their way from an identity to a role."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from broker.secret import Secret


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


class Identity(Protocol):
    """Where the keys to begin with come from."""

    async def session(self) -> Session:
        """Get keys, as new as they can be had. Raises `TransientFetchError`, `PermanentFetchError`, `LoginRequired`."""

    def changed(self, *, failed: bool) -> bool:
        """Whether another try would use other inputs than the last one, which `failed` or not.

        Called off the event loop.
        """
