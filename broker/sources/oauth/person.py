"""How a person signs in: by a browser that comes back to a page of this machine (PKCE), or by a device code."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from broker.errors import FetchError, LoginPending, LoginRequired, PermanentFetchError, TransientFetchError
from broker.secret import Secret, flaw
from broker.sign_in import EXPIRES_IN_S, INTERVAL_S, Invitation, Page, SignIn
from broker.sources.blocking import Blocking
from broker.sources.oauth.answer import Answer
from broker.sources.oauth.kept import Former
from broker.sources.oauth.provider import Provider
from broker.sources.oauth.refusals import ProviderRefused
from broker.sources.oauth.session import OFFLINE, Session, Want
from broker.sources.oauth.settings import OAuthSettings, OAuthSourceSettings

if TYPE_CHECKING:
    from broker.sources.oauth.client import ProviderClient

_DEVICE: Final = "urn:ietf:params:oauth:grant-type:device_code"
_BEGIN: Final = "begin the sign-in"
_FINISH: Final = "finish the sign-in"
_PENDING: Final = {"authorization_pending": False, "slow_down": True}


@dataclass(frozen=True, slots=True)
class _Begun:
    """A sign-in under way. `params`: what the token endpoint is to get with the code."""

    state: Secret
    scope: str
    params: Mapping[str, str]
    device: bool


class Person:
    """The sign-in of one source, and what its credentials want of it."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._provider = session.provider
        self._wanted: list[OAuthSettings] = []
        self._begun: _Begun | None = None

    @property
    def way(self) -> SignIn:
        """What the settings leave."""
        settings = self._provider.settings
        if settings.flow == "device":
            return SignIn(device=True)
        return SignIn(_page(settings.redirect_uri), settings.device_url is not None)

    def wanted_by(self, settings: OAuthSettings) -> None:
        """Ask the person for this too, when they sign in."""
        self._wanted.append(settings)

    async def begin(self, redirect_uri: str | None) -> Invitation:
        """Ask where the person is to go; an earlier sign-in that was not finished is void."""
        self._begun = None
        thread = Blocking("oauth")
        scope = self._scope((await self._provider.metadata(thread)).scopes)
        if redirect_uri is None:
            return await self._begin_device(thread, scope)
        return await self._begin_page(thread, scope, redirect_uri)

    async def finish(self, state: str, code: str | None) -> bool:
        """Sign in by what the browser brought back, or ask whether the device code was confirmed."""
        begun = self._begun
        # Else somebody's page could have the browser bring a code of theirs, and us act as them.
        if begun is None or not hmac.compare_digest(state.encode(), begun.state.reveal().encode()):
            raise PermanentFetchError(f"this answer belongs to no sign-in that was begun; run: {self._command}")
        if begun.device != (code is None):
            raise PermanentFetchError(f"this sign-in was begun in another way; run: {self._command}")
        answer = await self._answer(begun, code)
        self._begun = None
        return await self._session.signed_in(answer, begun.scope, self._only)

    async def logout(self) -> bool:
        """Forget the sign-in, then have the provider forget it. Raises `TransientFetchError` where it could not be told."""
        self._begun = None
        gone = await self._session.signed_out()
        if gone.former is not None:
            await self._revoke_former(gone.former)
        if gone.token is not None:
            await self._tell(self._provider, gone.token, "the provider could not be told")
        return gone.found or gone.former is not None

    async def _revoke_former(self, former: Former) -> None:
        """Have it forgotten as the client that it was made as: the settings were changed since."""
        still = f"{former.provider} still knows the sign-in of client {former.client_id}; end it there"
        if not former.here:  # what shows there who we are is not known any more, and our present secret is not for it
            raise TransientFetchError(f"signed out here, but {still}")
        provider = Provider(replace(self._provider.settings, client_id=former.client_id))
        try:
            await self._tell(provider, former.refresh_token, still)
        finally:
            provider.forget()

    async def _tell(self, provider: Provider, token: Secret, otherwise: str) -> None:
        try:
            await self._revoke(provider, token)
        except FetchError as error:
            raise TransientFetchError(f"signed out here, but {otherwise}: {error}") from None

    async def _revoke(self, provider: Provider, token: Secret) -> None:
        thread = Blocking("oauth")
        if provider.settings.revoke_url is None and "revoke_url" not in (await provider.metadata(thread)).endpoints:
            return  # it has no way to be told
        url = await provider.endpoint(thread, "revoke_url")
        own = await self._session.refresh_token.proof.read()
        await provider.call(
            thread, url, own, lambda client: client.revoke(url, token.reveal()), what="revoke our token", sent=[token]
        )

    # --- by a page ----------------------------------------------------------------------------------------------

    async def _begin_page(self, thread: Blocking, scope: str, redirect_uri: str) -> Invitation:
        url = await self._provider.endpoint(thread, "authorize_url")
        state, verifier = token_urlsafe(32), token_urlsafe(48)
        wanted = {"scope": scope, "redirect_uri": redirect_uri, **self._extra(scope)}

        def address(client: ProviderClient) -> str:
            return client.authorization(url, state, verifier, wanted)

        where = await self._provider.call(thread, url, {}, address, what=_BEGIN, sent=())
        params = {"redirect_uri": redirect_uri, "code_verifier": verifier}
        self._begun = _Begun(Secret(state), scope, params, device=False)
        names_itself = (await self._provider.metadata(thread)).names_itself
        return Invitation(where, state, issuer=self._provider.settings.issuer if names_itself else None)

    def _extra(self, scope: str) -> dict[str, Any]:
        settings = self._provider.settings
        extra: dict[str, Any] = dict(settings.authorize_params)
        if OFFLINE in scope.split():
            extra.setdefault("prompt", "consent")  # without which OpenID Connect gives no refresh token (Core, 11)
        if settings.token_audience is not None:
            extra.setdefault("audience", settings.token_audience)
        if resources := self._resources:
            extra["resource"] = resources
        return extra

    # --- by a device code ---------------------------------------------------------------------------------------

    async def _begin_device(self, thread: Blocking, scope: str) -> Invitation:
        settings = self._provider.settings
        url = await self._provider.endpoint(thread, "device_url")
        params = [("scope", scope), ("audience", settings.token_audience)]
        params += [("resource", resource) for resource in self._resources]
        given = [(name, value) for name, value in params if value]
        own = await self._session.refresh_token.proof.read()
        found = await self._provider.call(
            thread, url, own, lambda client: client.begin_device(url, given), what=_BEGIN, sent=list(own.values())
        )
        state = token_urlsafe(32)
        code, invitation = _device(found, settings, state)
        self._begun = _Begun(Secret(state), scope, {"device_code": code}, device=True)
        return invitation

    # --- the end ------------------------------------------------------------------------------------------------

    async def _answer(self, begun: _Begun, code: str | None) -> Answer:
        if code is not None:
            self._begun = None  # a code is good once
        grant, more = (_DEVICE, {}) if code is None else ("authorization_code", {"code": code})
        resources = self._resources
        target = {"resource": resources[0]} if len(resources) == 1 and code is not None else {}
        own = await self._session.refresh_token.proof.read()
        try:
            return await self._provider.ask(
                Blocking("oauth"), grant, {**begun.params, **more, **target}, own=own, what=_FINISH
            )
        except ProviderRefused as refused:
            if begun.device and refused.error in _PENDING:
                raise LoginPending(slow_down=_PENDING[refused.error]) from None
            if begun.device:
                self._begun = None
                raise LoginRequired(f"{refused}; run: {self._command}") from None
            raise

    # --- what is wanted -----------------------------------------------------------------------------------------

    @property
    def _command(self) -> str:
        return self._session.refresh_token.command

    @property
    def _resources(self) -> list[str]:
        return list(dict.fromkeys(wanted.resource for wanted in self._wanted if wanted.resource is not None))

    @property
    def _only(self) -> Want | None:
        wants = {want_of(wanted) for wanted in self._wanted}
        return wants.pop() if len(wants) == 1 else None

    def _scope(self, known: Iterable[str]) -> str:
        """Ask for what all credentials want together, and for a refresh token where the provider knows that scope."""
        settings = self._provider.settings
        if settings.login_scope is not None:
            return settings.login_scope
        words = [word for wanted in self._wanted for word in (wanted.scope or "").split()]
        if any(wanted.token == "id_token" for wanted in self._wanted):  # noqa: S105  # the name of a field
            words.insert(0, "openid")
        if OFFLINE in known:
            words.append(OFFLINE)
        return " ".join(dict.fromkeys(words))


def want_of(settings: OAuthSettings) -> Want:
    """Say what of a credential's settings makes a token another one."""
    return Want(settings.scope, settings.resource)


def _page(redirect_uri: str | None) -> Page:
    if redirect_uri is None:
        return Page()
    parts = urlsplit(redirect_uri)
    return Page(parts.hostname or "127.0.0.1", parts.port or 0, parts.path)


def _device(found: object, settings: OAuthSourceSettings, state: str) -> tuple[str, Invitation]:
    """Read the answer of a device authorization endpoint (RFC 8628, 3.2). Who shows it checks the addresses."""
    answer = found if isinstance(found, dict) else {}
    code, user_code = answer.get("device_code"), answer.get("user_code")
    url = answer.get("verification_uri") or answer.get("verification_url")  # Google's name for it
    texts = [text for text in (code, user_code, url) if isinstance(text, str) and text]
    if len(texts) < 3 or flaw(str(code)) is not None:  # noqa: PLR2004  # all of them
        raise PermanentFetchError(f"{settings.place}: the answer to a device sign-in lacks a code or an address")
    complete = answer.get("verification_uri_complete")
    return str(code), Invitation(
        str(url),
        state,
        _span(answer.get("expires_in"), EXPIRES_IN_S),
        str(user_code),
        complete if isinstance(complete, str) else None,
        _span(answer.get("interval"), INTERVAL_S),
    )


def _span(value: object, default: float) -> float:
    sound = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e6  # noqa: PLR2004  # days
    return float(value) if sound else default  # type: ignore[arg-type]  # a number, as was checked
