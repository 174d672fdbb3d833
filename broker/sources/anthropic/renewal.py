"""Who renews an assertion, and how, for errors: each is used once and lives for minutes, so a stale one is no rarity."""

from __future__ import annotations

import shlex

from broker.sources.references import Reference


def renewed_by(reference: Reference) -> str:
    """Say where the next one comes from, and what a person can do about it."""
    if reference.file is not None:
        return f"whatever writes {reference.file} renews it (the kubelet, a CI job, an agent): see that it runs"
    if reference.credential is not None:
        name = reference.credential
        return (
            f"the next one comes from credential {name}; run: broker refresh {name}, or look at: broker status {name}"
        )
    if reference.env is not None:
        return f"nothing renews {reference.env} in the daemon's environment; set it anew, then: broker restart; or name a file or a command instead"
    if reference.local is not None:
        return f"nothing renews what is stored; run: broker secret set {reference.local}; or name a file or a command instead"
    if reference.keyring is not None:
        service, _, username = reference.keyring.rpartition("/")
        entry = f"{shlex.quote(service)} {shlex.quote(username)}"
        return f"nothing renews the keyring's entry; run: keyring set {entry}; or name a file or a command instead"
    return "its command is to print a new one at each run"
