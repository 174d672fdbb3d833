"""A person's sign-in by `oidc`: what is remembered between its two steps, and the token that is kept of it."""

from __future__ import annotations

import hmac
import json
from dataclasses import dataclass
from secrets import token_urlsafe
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from broker.errors import LoginRequired, PermanentFetchError
from broker.secret import Secret, flaw
from broker.sign_in import Invitation
from broker.sources.blocking import Blocking
from broker.sources.interface import LoginRecord
from broker.sources.vault.auth import Oidc
from broker.sources.vault.connection import Connection

_URL_MAX: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class _Begun:
    state: Secret
    nonce: Secret
    client_nonce: Secret


@dataclass(frozen=True, slots=True)
class Given:
    """The token of a sign-in, and who gave it; `here`: that is still the server of the settings."""

    token: Secret
    server: str
    here: bool


class Person:
    """The sign-in of one source."""

    def __init__(self, connection: Connection, auth: Oidc, record: LoginRecord) -> None:
        self._connection = connection
        self._auth = auth
        self._record = record
        self._begun: _Begun | None = None

    async def begin(self, redirect_uri: str) -> Invitation:
        """Ask the server where the browser is to go; an earlier sign-in that was not finished is void."""
        # It never leaves the daemon: who steals code and state on their way through the browser has no use for them.
        client_nonce = Secret(token_urlsafe(32))
        answer = await self._connection.run(
            Blocking("vault"),
            lambda client: self._auth.authorization(client, redirect_uri, client_nonce.reveal()),
            None,
            "begin the sign-in",
        )
        data = answer.get("data") if isinstance(answer, dict) else None
        url = data.get("auth_url") if isinstance(data, dict) else None
        if not isinstance(url, str) or not url:  # the server tells its own log alone why
            raise PermanentFetchError(
                f"{self._connection.settings.server}: gives no address to sign in at; mend `role`, or have the"
                f" administrator add {redirect_uri} to the role's allowed_redirect_uris"
            )
        state, nonce = _checked(url, self._connection.settings.server)
        self._begun = _Begun(Secret(state), Secret(nonce), client_nonce)
        return Invitation(url, state)

    async def finish(self, state: str, code: str) -> Any:  # noqa: ANN401  # JSON
        """Return what the server gives for the answer that the browser brought; once for each `begin`."""
        begun = self._begun
        # Else somebody's page could have the browser bring a code of theirs, and us act as them.
        if begun is None or not hmac.compare_digest(state.encode(), begun.state.reveal().encode()):
            raise PermanentFetchError(f"this answer belongs to no sign-in that was begun; run: {self._record.command}")
        self._begun = None
        answer = {
            "state": state,
            "code": code,
            "nonce": begun.nonce.reveal(),
            "client_nonce": begun.client_nonce.reveal(),
        }
        return await self._connection.run(
            Blocking("vault"), lambda client: self._auth.exchange(client, answer), None, "finish the sign-in"
        )

    # --- what is kept -------------------------------------------------------------------------------------------

    async def keep(self, token: Secret) -> bool:
        """Store the token for the next run; return whether that was possible."""
        return await self._record.put(Secret(json.dumps({**self._place, "token": token.reveal()})))

    def kept(self) -> Secret:
        """Return the token of an earlier sign-in. Raises `LoginRequired`, and `TransientFetchError` while locked."""
        record = self._record.get()
        token = None if record is None else self._token(record)
        if token is None:
            raise self.required("nobody is signed in")
        return token

    def given(self) -> Given | None:
        """Return what is kept of a sign-in, also of one by other settings. Raises `TransientFetchError` while locked."""
        record = self._record.get()
        kept = {} if record is None else _fields(record)
        token = kept.get("token")
        if not isinstance(token, str) or flaw(token) is not None:
            return None
        # Its server knows a token by itself, whatever role and mount it came by.
        here = all(kept.get(name) == self._place[name] for name in ("address", "namespace"))
        return Given(Secret(token), str(kept.get("address")), here)

    async def forget(self) -> None:
        """Remove it for good, and what was begun. Raises `TransientFetchError`."""
        self._begun = None
        await self._record.delete()

    def required(self, why: str) -> LoginRequired:
        """Name the command."""
        return LoginRequired(f"{self._connection.settings.server}: {why}; run: {self._record.command}")

    @property
    def _place(self) -> dict[str, str | None]:
        """Where it is good: a changed `address` must not have the token sent to another server."""
        settings = self._connection.settings
        place = {"address": settings.server, "namespace": settings.namespace}
        return {**place, "mount": self._auth.mount, "role": self._auth.role}

    def _token(self, record: Secret) -> Secret | None:
        kept = _fields(record)
        token = kept.pop("token", None)
        sound = kept == self._place and isinstance(token, str) and flaw(token) is None
        return Secret(token) if sound else None


def _fields(record: Secret) -> dict[str, Any]:
    try:
        kept = json.loads(record.reveal())
    except ValueError:
        return {}
    return kept if isinstance(kept, dict) else {}


def _checked(url: str, server: str) -> tuple[str, str]:
    """Return state and nonce of the provider's address."""
    try:
        parts = urlsplit(url)
        query = parse_qs(parts.query)
    except ValueError:
        parts, query = urlsplit(""), {}
    # It goes to a browser, and is shown on a terminal: no javascript:, no file:, no control characters.
    if parts.scheme not in {"http", "https"} or not parts.hostname or not (url.isascii() and url.isprintable()):
        raise PermanentFetchError(f"{server}: gives something as the address to sign in at that is none")
    if len(url) > _URL_MAX or not (query.get("state") and query.get("nonce")):
        raise PermanentFetchError(f"{server}: the address to sign in at has no state and nonce")
    return query["state"][0], query["nonce"][0]
