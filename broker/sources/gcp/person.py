"""A person's sign-in at Google, in a browser: https://developers.google.com/identity/protocols/oauth2/native-app.

What gcloud keeps in a plain file is kept in the encrypted store: a refresh token, good until somebody revokes it.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlencode

from broker.errors import FetchError, LoginRequired, PermanentFetchError, TransientFetchError
from broker.secret import Secret, flaw
from broker.sign_in import Invitation, Page, SignIn
from broker.sources import answer, expiry, references
from broker.sources.blocking import Blocking
from broker.sources.gcp import document, places
from broker.sources.gcp.document import Document
from broker.sources.gcp.settings import CLOUD_PLATFORM, GcpSourceSettings
from broker.sources.interface import Context

if TYPE_CHECKING:
    from broker.sources.gcp.transport import Answer, Request

T = TypeVar("T")

WHO: Final = ("openid", "https://www.googleapis.com/auth/userinfo.email")
"""Scopes by which Google tells whose sign-in it is."""

_LIMIT_S: Final = 20.0
_WHERE: Final = "the sign-in"


@dataclass(frozen=True, slots=True)
class _Begun:
    state: Secret
    verifier: Secret
    redirect_uri: str


class Person:
    """The sign-in of one source, which all its credentials share."""

    way: Final = SignIn(Page())

    def __init__(self, settings: GcpSourceSettings, context: Context) -> None:
        assert settings.sign_in is not None  # noqa: S101  # for the type checker; the source looked
        self._settings = settings
        self._client = settings.sign_in
        self._record = context.login
        secret = self._client.client_secret
        self._secret = None if secret is None else references.bind(secret, context)
        self._begun: _Begun | None = None
        self._unstored: Secret | None = None
        self._closed = False

    async def begin(self, redirect_uri: str) -> Invitation:
        """Make the address that the browser is sent to; an earlier sign-in that was not finished is void."""
        state, verifier = token_urlsafe(32), token_urlsafe(48)
        self._begun = _Begun(Secret(state), Secret(verifier), redirect_uri)
        url = await Blocking("gcp").run(lambda: self._address(state, verifier, redirect_uri))
        return Invitation(url, state)

    async def finish(self, state: str, code: str) -> bool:
        """Sign in by what the browser brought back; return whether it is kept when the daemon ends."""
        begun, self._begun = self._begun, None
        # Else somebody's page could have the browser bring a code of theirs, and us act as them.
        if begun is None or not hmac.compare_digest(state.encode(), begun.state.reveal().encode()):
            raise PermanentFetchError(f"this answer belongs to no sign-in that was begun; run: {self._record.command}")
        body = {
            "grant_type": "authorization_code",
            "code": code,
            "code_verifier": begun.verifier.reveal(),
            "redirect_uri": begun.redirect_uri,
            **await self._shown(),
        }
        found = await self._called(lambda request: _granted(request, f"{self._api('oauth2')}/token", body))
        record = self._recorded(found)
        if self._closed:  # locked meanwhile, or set up anew
            with suppress(FetchError):
                await self._revoke(str(found["refresh_token"]))
            raise TransientFetchError(f"locked or set up anew meanwhile; run once more: {self._record.command}")
        kept = await self._record.put(record)
        self._unstored = None if kept else record
        return kept

    async def logout(self) -> bool:
        """Forget the sign-in, then have Google forget it. Raises `TransientFetchError` where it could not be told.

        Also one that an earlier `client_id` was given: Google asks for none.
        """
        self._begun = None
        kept = self._found()
        if "refresh_token" not in kept:
            return False
        self._unstored = None
        await self._record.delete()
        if kept.get("at") != self._place["at"]:  # it is not for whoever is at the present address
            raise TransientFetchError(f"signed out here, but {kept.get('at')} still knows the sign-in; end it there")
        try:
            await self._revoke(str(kept["refresh_token"]))
        except FetchError as error:
            raise TransientFetchError(f"signed out here, but Google could not be told: {error}") from None
        return True

    async def document(self) -> Document:
        """Write the sign-in as the JSON that gcloud would keep. Raises `LoginRequired`, or as references do."""
        kept = self._kept()
        info = {
            "type": "authorized_user",
            "token_uri": f"{self._api('oauth2')}/token",
            "refresh_token": kept["refresh_token"],
            "account": kept["account"],
            "client_secret": "",
            **await self._shown(),
        }
        return document.read(json.dumps(info), _WHERE, self._settings.universe_domain)

    def changed(self) -> bool:
        """Whether the client's secret is another one; who signs in or out is told in another way."""
        return self._secret is not None and self._secret.changed()

    def close(self) -> None:
        """Forget what is not stored."""
        self._closed, self._unstored, self._begun = True, None, None

    # --- asking Google ------------------------------------------------------------------------------------------

    def _address(self, state: str, verifier: str, redirect_uri: str) -> str:
        from authlib.oauth2.rfc6749.parameters import prepare_grant_uri  # noqa: PLC0415  # late: who signs in pays for it
        from authlib.oauth2.rfc7636 import create_s256_code_challenge  # noqa: PLC0415  # as above

        url: str = prepare_grant_uri(
            f"{self._api('accounts')}/o/oauth2/v2/auth",
            self._client.client_id,
            "code",
            redirect_uri=redirect_uri,
            scope=" ".join(self._scopes),
            state=state,
            code_challenge=create_s256_code_challenge(verifier),
            code_challenge_method="S256",
            access_type="offline",
            prompt="consent",  # without which a second sign-in gives no refresh token
        )
        return url

    async def _shown(self) -> dict[str, str]:
        """Show which application we are; that secret is none on a person's machine, but Google wants it."""
        secret = {} if self._secret is None else {"client_secret": (await self._secret.resolve()).reveal()}
        return {"client_id": self._client.client_id, **secret}

    async def _revoke(self, token: str) -> None:
        url = f"{self._api('oauth2')}/revoke"
        await self._called(lambda request: _posted(request, url, {"token": token}))

    async def _called(self, call: Callable[[Request], T]) -> T:
        def run() -> T:
            from broker.sources.gcp.transport import Request  # noqa: PLC0415  # late: see `GcpFetcher`

            with Request(self._settings, _LIMIT_S) as request:
                return call(request)

        return await Blocking("gcp").run(run)

    def _api(self, service: str) -> str:
        return places.address(self._settings.api_endpoints, service, self._settings.universe_domain)

    @property
    def _scopes(self) -> tuple[str, ...]:
        return (*WHO, *(self._client.scopes or (CLOUD_PLATFORM,)))

    # --- what is kept -------------------------------------------------------------------------------------------

    def _recorded(self, found: Mapping[str, Any]) -> Secret:
        refresh_token = found.get("refresh_token")
        if not isinstance(refresh_token, str) or flaw(refresh_token) is not None:
            raise PermanentFetchError(f"Google gave no refresh token; run once more: {self._record.command}")
        agreed = str(found.get("scope", "")).split()
        missing = [scope for scope in self._scopes if scope not in (*WHO, *agreed)]
        if missing:  # the person may have left a box unticked
            raise PermanentFetchError(f"{missing[0]} was not agreed to; run once more: {self._record.command}")
        return Secret(json.dumps({**self._place, "refresh_token": refresh_token, "account": _account(found)}))

    def _found(self) -> Mapping[str, Any]:
        record = self._unstored or self._record.get()
        try:
            return {} if record is None else answer.json_object(record.reveal())
        except answer.BadAnswer:
            return {}

    def _kept(self) -> Mapping[str, Any]:
        kept = self._found()
        if any(kept.get(name) != value for name, value in self._place.items()) or "refresh_token" not in kept:
            raise LoginRequired(f"Google: nobody is signed in; run: {self._record.command}")
        return kept

    @property
    def _place(self) -> dict[str, str]:
        """For which client, and where, it is good: a changed setting must not have it sent elsewhere."""
        return {"client_id": self._client.client_id, "at": self._api("oauth2")}


def _posted(request: Request, url: str, body: Mapping[str, str]) -> Answer:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return request(url, "POST", urlencode(body).encode(), headers)


def _granted(request: Request, url: str, body: Mapping[str, str]) -> dict[str, Any]:
    found = _posted(request, url, body)
    if found.status == 200:  # noqa: PLR2004  # HTTP's
        return found.json
    from broker.sources.gcp.errors import words_of  # noqa: PLC0415  # for this alone

    raise PermanentFetchError(f"Google refuses the sign-in: {words_of(found)}")


def _account(found: Mapping[str, Any]) -> str | None:
    """Read whose sign-in it is from the ID token, which came straight from Google (OpenID Connect Core, 3.1.3.7)."""
    email = expiry.claims(str(found.get("id_token", ""))).get("email")
    return email if isinstance(email, str) and email.isprintable() and len(email) < 200 else None  # noqa: PLR2004  # longer than any
