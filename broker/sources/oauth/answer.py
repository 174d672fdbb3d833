"""What a token endpoint answered, read as a credential. Pure; no message quotes it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from broker.errors import PermanentFetchError, TransientFetchError
from broker.model import Issued
from broker.secret import Secret, flaw_of_text
from broker.sources import answer as answers
from broker.sources import expiry
from broker.sources.oauth.settings import OAuthSettings

_TYPES: Final = frozenset({"bearer", "n_a"})
"""Of tokens that whoever holds them may use; `N_A` is what an exchange gives where it is no access token (RFC 8693)."""
_REFRESH_SPANS: Final = ("refresh_token_expires_in", "refresh_expires_in")
"""As GitHub, Microsoft and others call it, and as Keycloak does (0: never)."""
_SCOPE_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """A good answer, and when we began to ask for it (epoch seconds): its times count from there."""

    fields: Mapping[str, Any]
    at: float

    @property
    def refresh_token(self) -> Secret | None:
        """The refresh token that it brings, if it brings one."""
        text = self.fields.get("refresh_token")
        return Secret(text) if isinstance(text, str) and flaw_of_text(text) is None else None

    @property
    def lifetime_s(self) -> float:
        """How long its token lives; 0 where it does not say."""
        with suppress(expiry.BadTime):
            return expiry.span(self.fields.get("expires_in"), 0.0)
        return 0.0

    @property
    def sign_in_ends_at(self) -> float | None:
        """When the refresh token dies that it brings, where the provider says (there is no standard for it yet)."""
        for name in _REFRESH_SPANS if self.refresh_token is not None else ():
            with suppress(expiry.BadTime):
                if (ends_at := expiry.span(self.fields.get(name), self.at)) > self.at:
                    return ends_at
        return None

    def issued(self, settings: OAuthSettings, where: str, details: Mapping[str, str]) -> Issued:
        """Make the token that `settings` name a credential. Raises `PermanentFetchError`, `TransientFetchError`."""
        text = self.fields.get(settings.token)
        if not isinstance(text, str):
            raise PermanentFetchError(f"{where}: {_missing(settings)}")
        # A token that is bound to a key of ours, or to a request, is of no use to whoever gets it as an API key.
        if str(self.fields.get("token_type", "bearer")).lower() not in _TYPES:
            raise PermanentFetchError(
                f"{where}: the token is no bearer token; ask the provider's administrator for one"
            )
        is_id_token = settings.token == "id_token"  # noqa: S105  # the name of a field
        try:
            made = answers.token(text, self.at, None if is_id_token else self._expires_at())
        except answers.BadAnswer as bad:
            raise TransientFetchError(f"{where}: {bad}") from None
        return replace(made, kind=settings.kind, details={**details, **self._scope()})

    def _expires_at(self) -> float | None:
        given = self.fields.get("expires_in")
        if given is None:
            return None
        try:
            return expiry.span(given, self.at)
        except expiry.BadTime as bad:
            raise answers.BadAnswer(f"its expires_in {bad}") from None

    def _scope(self) -> dict[str, str]:
        scope = self.fields.get("scope")
        sound = isinstance(scope, str) and scope.isascii() and scope.isprintable() and 0 < len(scope) <= _SCOPE_MAX
        return {"scope": str(scope)} if sound else {}


def _missing(settings: OAuthSettings) -> str:
    if settings.token == "id_token":  # noqa: S105  # the name of a field
        return "the answer has no id_token; add openid to `scope` of the credential"
    return "the answer has no access_token"
