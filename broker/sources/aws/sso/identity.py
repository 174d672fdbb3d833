"""The identity of a source with `sso`: keys of an account and role there, by the sign-in of a person."""

from __future__ import annotations

import hmac
from collections.abc import Hashable
from dataclasses import dataclass
from secrets import token_urlsafe
from typing import Final

from broker.errors import LoginRequired, PermanentFetchError, TransientFetchError
from broker.secret import Secret
from broker.sign_in import Invitation, Page, SignIn
from broker.sources.aws.refusals import TokenRefused
from broker.sources.aws.sdk import Sdk
from broker.sources.aws.session import Session
from broker.sources.aws.sso.calls import SsoCalls
from broker.sources.aws.sso.settings import SsoSettings
from broker.sources.aws.sso.sign_in import sign_in_at
from broker.sources.aws.sso.token import Registration, SsoToken
from broker.sources.blocking import Blocking
from broker.sources.interface import Context

WAYS: Final = SignIn(Page("127.0.0.1", 0, "/oauth/callback"), device=True)
"""The page is that of the AWS CLI: AWS compares all of it but the port."""


@dataclass(frozen=True, slots=True)
class _Begun:
    """A sign-in under way: by browser (`verifier`, `redirect_uri`), or by device code."""

    state: Secret
    client: Registration
    redirect_uri: str | None = None
    verifier: Secret | None = None
    device_code: Secret | None = None


class Sso:
    """An `Identity`, and the person's part of the source: what `Interactive` asks for, `sign_in` being `WAYS`."""

    def __init__(self, settings: SsoSettings, sdk: Sdk, context: Context) -> None:
        self._record = context.login
        self._calls = SsoCalls(settings, sdk, context.login.command)
        self._sign_in = sign_in_at(settings, sdk.settings.endpoint_url)
        self._sign_in.join(self._record)
        self._thread = Blocking("aws sso")
        self._begun: _Begun | None = None
        self._seen: Hashable | None = None
        self._closed = False

    async def session(self) -> Session:
        """Get keys of account and role."""
        self._seen = self._sign_in.version()
        token = await self._sign_in.token(self._calls)
        try:
            return await self._thread.run(lambda: self._calls.role_keys(token))
        except TokenRefused:
            other = await self._sign_in.token(self._calls, refused=token)
        try:
            return await self._thread.run(lambda: self._calls.role_keys(other))
        except TokenRefused as refused:
            raise LoginRequired(str(refused)) from None

    def changed(self, *, failed: bool) -> bool:
        """Notice where it failed that somebody has signed in since, here or by the AWS CLI; else a refresh is no news."""
        return failed and self._seen is not None and self._sign_in.version() != self._seen

    async def close(self) -> None:
        """Forget what is in memory."""
        self._closed = True
        self._begun = None
        await self._sign_in.leave(self._record)

    # --- by a person --------------------------------------------------------------------------------------------

    async def begin_login(self, redirect_uri: str | None) -> Invitation:
        """Become a client of the Identity Center, and ask where the person is to go."""
        begun, invitation = await Blocking("aws sso").run(
            self._by_device if redirect_uri is None else lambda: self._by_browser(redirect_uri)
        )
        self._begun = begun
        return invitation

    async def finish_login(self, state: str, code: str | None) -> bool:
        """Get the token, and keep it."""
        begun = self._begun
        # Else somebody's page could have the browser bring a code of theirs, and us act as them.
        if begun is None or not hmac.compare_digest(state.encode(), begun.state.reveal().encode()):
            raise PermanentFetchError(f"this answer belongs to no sign-in that was begun; run: {self._record.command}")
        if code is not None:
            self._begun = None  # a code is good once
        token = await Blocking("aws sso").run(lambda: self._token(begun, code))
        self._begun = None
        if self._closed:  # locked meanwhile, or set up anew
            raise TransientFetchError("locked or set up anew meanwhile; sign in once more")
        return await self._sign_in.signed_in(self._calls, token)

    async def logout(self) -> bool:
        """Sign out, for all who share the sign-in."""
        self._begun = None
        return await self._sign_in.signed_out(self._calls)

    def _by_device(self) -> tuple[_Begun, Invitation]:
        client = self._calls.register(by_browser=False)
        device = self._calls.authorize_device(client)
        state = token_urlsafe(16)
        shown = Invitation(
            device.url, state, device.expires_in_s, device.user_code, device.complete_url, device.interval_s
        )
        return _Begun(Secret(state), client, device_code=device.code), shown

    def _by_browser(self, redirect_uri: str) -> tuple[_Begun, Invitation]:
        client = self._calls.register(by_browser=True)
        state, verifier = token_urlsafe(32), Secret(token_urlsafe(48))
        url = self._calls.authorize_url(client, redirect_uri, state, verifier)
        return _Begun(Secret(state), client, redirect_uri, verifier), Invitation(url, state)

    def _token(self, begun: _Begun, code: str | None) -> SsoToken:
        if begun.device_code is not None:
            return self._calls.token_by_device(begun.client, begun.device_code)
        if begun.verifier is None or begun.redirect_uri is None or not code:
            raise PermanentFetchError(f"the browser brought back no code; run: {self._record.command}")
        return self._calls.token_by_browser(begun.client, code, begun.redirect_uri, begun.verifier)
