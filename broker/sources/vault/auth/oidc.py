"""`oidc`: a person signs in at the company's identity provider, in a browser (`broker login SOURCE`).

The calls are those of `vault login -method=oidc`: `auth/MOUNT/oidc/auth_url`, then `auth/MOUNT/oidc/callback`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from broker.sources.vault.auth.base import Answer, Auth, check_mount


@dataclass(frozen=True, slots=True)
class Oidc(Auth):
    """`role`: the mount's default one, if none is given."""

    role: str = ""
    mount: str = "oidc"

    def __post_init__(self) -> None:
        check_mount(self.mount)

    def authorization(self, client: Any, redirect_uri: str, client_nonce: str) -> Answer:  # noqa: ANN401  # hvac has no types
        """Ask for the provider's address (blocking). hvac's own call leaves out the nonce of ours."""
        body = {"role": self.role, "redirect_uri": redirect_uri, "client_nonce": client_nonce}
        return client.adapter.post(f"/v1/auth/{self.mount}/oidc/auth_url", json=body)

    def exchange(self, client: Any, answer: dict[str, str]) -> Answer:  # noqa: ANN401  # hvac has no types
        """Get our token for `state`, `code`, `nonce` and `client_nonce` (blocking)."""
        return client.adapter.get(f"/v1/auth/{self.mount}/oidc/callback", params=answer)
