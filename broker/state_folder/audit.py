"""The audit trail's verification, as `broker audit --verify` sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from broker import paths
from broker.errors import StorageError, Unreachable
from broker.state_folder.access import State
from broker.storage.audit import Verdict, verify
from broker.storage.audit.books import anchor, key_of
from broker.storage.store import EncryptedStore


@dataclass(frozen=True, slots=True)
class Audited:
    """The trail of a state folder."""

    state: State

    def verify(self) -> Verdict:
        """Have the whole trail checked by the daemon, or check it.

        Raises `StorageError` where no key is at hand or the trail cannot be read, `Locked`, and what `Client` raises.
        """
        client = self.state.client
        return self.state.either(lambda: _verdict(client.verify_audit()), _check, may_create=False)


async def _check(store: EncryptedStore) -> Verdict:
    store.names("")  # raises `Locked`
    key = key_of(store)
    if not key.kept:
        raise StorageError(
            "no key is kept at rest, so a trail can be verified only by the daemon that writes it, while it runs;"
            " to change that see [daemon] persist, and: broker status"
        )
    try:
        return verify(paths.state_dir(), key, known=anchor(store))
    except OSError as error:
        raise StorageError(f"{error.filename}: {error.strerror}") from error


def _verdict(answer: Mapping[str, Any]) -> Verdict:
    try:
        findings, limits = (tuple(str(text) for text in answer[name]) for name in ("findings", "limits"))
        return Verdict(int(answer["lines"]), int(answer["proven"]), findings, limits)
    except (KeyError, TypeError, ValueError) as error:
        raise Unreachable("the daemon's answer is not of this version; run: broker restart") from error
