"""The flows in which nobody signs in: each fetch asks for a token, by what we and the credential can show."""

from __future__ import annotations

from typing import Final

from broker.errors import PermanentFetchError
from broker.model import Issued
from broker.secret import Secret
from broker.sources import references
from broker.sources.blocking import Blocking
from broker.sources.interface import Context
from broker.sources.oauth.proof import Proof
from broker.sources.oauth.provider import Provider
from broker.sources.oauth.settings import OAuthSettings

GRANTS: Final = {
    "client-credentials": "client_credentials",
    "token-exchange": "urn:ietf:params:oauth:grant-type:token-exchange",
    "jwt-bearer": "urn:ietf:params:oauth:grant-type:jwt-bearer",
}
_CALLS: Final = 3
"""At most so many calls after another in a fetch: two for the metadata, and the token itself."""
_SECRETS_S: Final = 35.0
"""How long a reference may take to be read (another credential, a command)."""


class DirectFetcher:
    """Asks for one credential's token."""

    def __init__(self, provider: Provider, settings: OAuthSettings, context: Context) -> None:
        self._provider = provider
        self._settings = settings
        self._thread = Blocking("oauth")
        self._proof = Proof(provider.settings, context)
        given = {"subject_token": settings.subject_token, "actor_token": settings.actor_token}
        self._tokens = {name: references.bind(place, context) for name, place in given.items() if place is not None}
        self._failed = False

    @property
    def timeout_s(self) -> float:
        """Each call has its own time-out."""
        return _CALLS * (self._provider.settings.timeout + 1) + _SECRETS_S

    async def fetch(self) -> Issued:
        """Ask for a token."""
        flow = self._provider.settings.flow
        try:
            params = await self._params(flow)
            answer = await self._provider.ask(
                self._thread, GRANTS[flow], params, own=await self._proof.read(), what=f"get a token ({flow})"
            )
            issued = answer.issued(self._settings, self._provider.settings.place, self._provider.details)
        except PermanentFetchError:
            self._failed = True
            raise
        self._failed = False
        return issued

    def changed(self) -> bool:
        """Notice another secret of ours; and, where the last try failed, another token to show."""
        # A token that is exchanged changes all the time (Kubernetes writes a new one each hour): that alone is no
        # reason to give up what was got by the one before.
        return self._proof.changed() or (self._failed and any(place.changed() for place in self._tokens.values()))

    async def _params(self, flow: str) -> dict[str, str]:
        settings = self._settings
        tokens = {name: _checked(await place.resolve(), name) for name, place in self._tokens.items()}
        params = {
            "scope": settings.scope,
            "resource": settings.resource,
            "audience": self._provider.settings.token_audience,
        }
        if flow == "client-credentials":
            if tokens:
                raise PermanentFetchError(
                    "subject_token and actor_token belong to the flows token-exchange and jwt-bearer"
                )
        elif "subject_token" not in tokens:
            raise PermanentFetchError(f"flow {flow} needs subject_token on the credential")
        if flow == "jwt-bearer":
            params["assertion"] = tokens["subject_token"]
        if flow == "token-exchange":
            params |= tokens
            params |= {f"{name}_type": getattr(settings, f"{name}_type") for name in tokens}
            params["requested_token_type"] = settings.requested_token_type
        return {name: value for name, value in params.items() if value is not None}


def _checked(token: Secret, name: str) -> str:
    text = token.reveal()
    if not text.isascii() or not text.isprintable():
        raise PermanentFetchError(f"{name} is no token: it has line ends or characters outside ASCII")
    return text
