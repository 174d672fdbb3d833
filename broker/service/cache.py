"""Each credential's last token at rest, so that a restarted daemon need not ask the source again.

A record is JSON: the token, when it was received on both clocks, in which boot of the machine, and a digest of the
settings it was fetched by, so that a changed config never revives a token of the old one.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from broker.clock import Now
from broker.config import CredentialConfig, SourceConfig
from broker.engine.vocabulary import Held, Receipt
from broker.errors import Locked
from broker.model import Issued, Kind
from broker.secret import Secret
from broker.storage.interface import TOKENS, Store

_VERSION: Final = 1


class TokenCache:
    """The record of one credential. `boot` names this boot of the machine, `settings` how the token is fetched."""

    def __init__(self, store: Store, credential: str, settings: str, boot: str) -> None:
        self._store = store
        self._record = TOKENS + credential
        self._settings = settings
        self._boot = boot

    def keep(self, held: Held) -> None:
        """Keep this token, in place of the one before."""
        record = {
            "version": _VERSION,
            "settings": self._settings,
            "boot": self._boot,
            "received": [held.received.wall, held.received.mono],
            "lifetime_s": _or_none(held.lifetime_s),
            "expires_at": held.issued.expires_at,
            "kind": str(held.issued.kind),
            "parts": {name: secret.reveal() for name, secret in held.issued.parts.items()},
            "details": dict(held.issued.details),
        }
        self._store.keep(self._record, Secret(json.dumps(record)))

    def discard(self) -> None:
        """Forget it: it is refused, dead, or of another config."""
        self._store.discard(self._record)

    @property
    def is_there(self) -> bool:
        """Whether there is a record, which a store without a home for its key never has."""
        try:
            return self._store.get(self._record) is not None
        except Locked:
            return False

    def receipt(self) -> Receipt | None:
        """Return what was kept, if it was fetched by the present settings. Raises `Locked`."""
        kept = self._store.get(self._record)
        if kept is None:
            return None
        try:
            return self._read(json.loads(kept.reveal()))
        except (ValueError, KeyError, TypeError, AttributeError):  # of another version, or not ours
            return None

    def _read(self, record: Mapping[str, Any]) -> Receipt | None:
        if record["version"] != _VERSION or record["settings"] != self._settings:
            return None
        wall, mono = record["received"]
        issued = Issued(
            parts={str(name): Secret(str(text)) for name, text in record["parts"].items()},
            expires_at=None if record["expires_at"] is None else _finite(record["expires_at"]),
            kind=Kind(record["kind"]),
            details={str(name): str(text) for name, text in record["details"].items()},
        )
        lifetime_s = math.inf if record["lifetime_s"] is None else _finite(record["lifetime_s"])
        return Receipt(issued, Now(_finite(wall), _finite(mono)), lifetime_s, record["boot"] == self._boot)


def settings_digest(source: SourceConfig, credential: CredentialConfig) -> str:
    """Digest what decides which token is fetched: the source's and the credential's own settings."""
    decisive = [source.type.name, asdict(source.settings), asdict(credential.settings)]  # type: ignore[call-overload]  # typed as object, but each is a dataclass
    return hashlib.sha256(json.dumps(decisive, sort_keys=True, default=_plain).encode()).hexdigest()


def _plain(value: object) -> object:
    return sorted(value) if isinstance(value, set | frozenset) else str(value)


def _or_none(seconds: float) -> float | None:
    return None if seconds == math.inf else seconds


def _finite(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError
    return float(value)
