"""The nouns that every layer shares: what a source issues, and how long the user wants things to take."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from broker.secret import Secret

TOKEN: Final = "token"  # noqa: S105  # the name of a part, not a secret
"""The part that holds the token, in kinds that are a single text."""

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
"""What sources, credentials and stored secrets may be called."""

DEFAULT_TTL_S: Final = 300.0
"""How long Claude Code keeps a key when `CLAUDE_CODE_API_KEY_HELPER_TTL_MS` says nothing."""


class Kind(StrEnum):
    """What a credential is, and so which parts it has."""

    API_KEY = "api-key"
    AWS_SESSION = "aws-session"
    BEDROCK_API_KEY = "bedrock-api-key"
    ACCESS_TOKEN = "access-token"  # noqa: S105  # the name of a kind, not a secret
    """Of Google's."""
    ID_TOKEN = "id-token"  # noqa: S105  # as above


@dataclass(frozen=True, slots=True)
class Issued:
    """What a source gave: the secret parts, and the wall-clock time (epoch seconds) at which they die.

    `expires_at` is None for a static key. An `api-key` has the one part `token`; an `aws-session` has
    `access_key_id`, `secret_access_key` and mostly `session_token`. `details` are facts of the source's that
    may be shown (an account, a lease), never secrets. `borrowed`: the source gives it back when it is closed, so
    that it must not be kept at rest.
    """

    parts: Mapping[str, Secret]
    expires_at: float | None = None
    kind: Kind = Kind.API_KEY
    details: Mapping[str, str] = field(default_factory=dict)
    borrowed: bool = False

    @classmethod
    def token(cls, text: str, expires_at: float | None = None) -> Issued:
        """Make the common case: a single text."""
        return cls({TOKEN: Secret(text)}, expires_at)

    def same_secret(self, other: Issued) -> bool:
        """Whether both are the same secret, whatever their expiry."""
        return self.parts.keys() == other.parts.keys() and all(
            secret == other.parts[name] for name, secret in self.parts.items()
        )

    def fingerprint(self, key: bytes) -> str:
        """Name the secret as a whole without showing it (see `Secret.fingerprint`)."""
        return Secret("\0".join(self.parts[name].reveal() for name in sorted(self.parts))).fingerprint(key)


@dataclass(frozen=True, slots=True)
class Process:
    """A running program as its kernel describes it; pid and `started` together name it for good.

    `started` is in the kernel's own ticks since boot; `name` is the short name of the program.
    """

    pid: int
    parent: int
    started: int
    name: str


@dataclass(frozen=True, slots=True)
class Timing:
    """How one credential is to be kept fresh; every duration in seconds."""

    min_validity_s: float = 60.0
    max_age_s: float | None = None
    idle_after_s: float = 8 * 3600.0
    refresh_interval_min_s: float = 10.0
    ttl_max_s: float = 24 * 3600.0
