"""The calls of IAM Identity Center: sign-in (`sso-oidc`) and portal (`sso`). Blocking: for a thread of `Blocking`.

Each raises what `errors.translated` gives, and nothing of botocore's.
"""

from __future__ import annotations

import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

from broker.errors import LoginRequired, TransientFetchError
from broker.secret import Secret, flaw
from broker.sources.aws.sdk import Library, Sdk
from broker.sources.aws.session import Session
from broker.sources.aws.sso.settings import SsoSettings, place
from broker.sources.aws.sso.token import REFRESH, SIGN_IN, Registration, SsoToken

T = TypeVar("T")

SCOPE: Final = "sso:account:access"
_CLIENT: Final = "claude-credential-broker"
_REDIRECT: Final = "http://127.0.0.1/oauth/callback"
"""What is registered: any port of the loopback is allowed then (RFC 8252, 7.3)."""
_BY_DEVICE: Final = "urn:ietf:params:oauth:grant-type:device_code"
_INTERVAL_S: Final = 5.0
_NUMBER_MAX: Final = 1e14
"""The year 5138, in the milliseconds since 1970 that the portal counts."""


@dataclass(frozen=True, slots=True)
class Device:
    """What the Identity Center wants shown to a person."""

    code: Secret
    user_code: str
    url: str
    complete_url: str | None
    expires_in_s: float
    interval_s: float


class SsoCalls:
    """The calls, for one Identity Center. `command`: what a person runs to sign in, for messages."""

    def __init__(self, settings: SsoSettings, sdk: Sdk, command: str) -> None:
        self._settings = settings
        self._sdk = sdk
        self._command = command

    def required(self, why: str) -> LoginRequired:
        """Name the command."""
        return LoginRequired(f"{self._settings.start_url}: {why}; run: {self._command}")

    # --- signing in ---------------------------------------------------------------------------------------------

    def register(self, *, by_browser: bool) -> Registration:
        """Become a client."""
        wanted: dict[str, Any] = {"clientName": _CLIENT, "clientType": "public", "scopes": [SCOPE]}
        if by_browser:
            wanted |= {
                "grantTypes": ["authorization_code", "refresh_token"],
                "redirectUris": [_REDIRECT],
                "issuerUrl": self._settings.start_url,
            }
        answer = self._signing_in("register", lambda client: client.register_client(**wanted))
        client_id, secret = _text(answer, "clientId"), Secret(_text(answer, "clientSecret"))
        return Registration(client_id, secret, _number(answer, "clientSecretExpiresAt"))

    def authorize_device(self, client: Registration) -> Device:
        """Ask for a device code."""
        answer = self._signing_in(
            "begin the sign-in",
            lambda library: library.start_device_authorization(
                clientId=client.client_id,
                clientSecret=client.client_secret.reveal(),
                startUrl=self._settings.start_url,
            ),
        )
        return Device(
            code=Secret(_text(answer, "deviceCode")),
            user_code=_text(answer, "userCode"),
            url=_text(answer, "verificationUri"),
            complete_url=_text(answer, "verificationUriComplete") if answer.get("verificationUriComplete") else None,
            expires_in_s=_number(answer, "expiresIn"),
            interval_s=_number(answer, "interval") if answer.get("interval") else _INTERVAL_S,
        )

    def authorize_url(self, client: Registration, redirect_uri: str, state: str, verifier: Secret) -> str:
        """Say where the browser is to go: an operation that botocore's model lacks, as the AWS CLI calls it."""
        digest = sha256(verifier.reveal().encode()).digest()
        query = {
            "response_type": "code",
            "client_id": client.client_id,
            "redirect_uri": redirect_uri,
            "state": state,
            "code_challenge_method": "S256",
            "scopes": SCOPE,
            "code_challenge": urlsafe_b64encode(digest).decode().rstrip("="),
        }
        server = self._run("begin the sign-in", lambda: str(self._client("sso-oidc").meta.endpoint_url))
        return f"{server.rstrip('/')}/authorize?{urlencode(query)}"

    def token_by_device(self, client: Registration, device_code: Secret) -> SsoToken:
        """Ask whether the code was confirmed. Raises `LoginPending` and `LoginRequired` too."""
        return self._token(client, {"grantType": _BY_DEVICE, "deviceCode": device_code.reveal()})

    def token_by_browser(self, client: Registration, code: str, redirect_uri: str, verifier: Secret) -> SsoToken:
        """Exchange what the browser brought back. Raises `LoginRequired` too."""
        wanted = {"grantType": "authorization_code", "code": code, "redirectUri": redirect_uri}
        return self._token(client, {**wanted, "codeVerifier": verifier.reveal()})

    def refreshed(self, token: SsoToken) -> SsoToken:
        """Get the next token. Raises `LoginRequired` where only a person can."""
        assert token.registration is not None  # noqa: S101  # `can_refresh` was asked
        assert token.refresh_token is not None  # noqa: S101  # as above
        old = token.refresh_token
        wanted = {"grantType": "refresh_token", "refreshToken": old.reveal()}
        made = self._token(token.registration, wanted, REFRESH)
        if made.refresh_token is not None:
            return made
        return SsoToken(made.access_token, made.expires_at, old, made.registration)  # it was not replaced

    def _token(self, client: Registration, wanted: Mapping[str, str], what: str = SIGN_IN) -> SsoToken:
        began = time.time()
        answer = self._signing_in(
            what,
            lambda library: library.create_token(
                clientId=client.client_id, clientSecret=client.client_secret.reveal(), **wanted
            ),
        )
        refresh = answer.get("refreshToken")
        return SsoToken(
            Secret(_text(answer, "accessToken")),
            began + _number(answer, "expiresIn"),
            Secret(refresh) if isinstance(refresh, str) and flaw(refresh) is None else None,
            client,
        )

    # --- the portal ---------------------------------------------------------------------------------------------

    def role_keys(self, token: SsoToken) -> Session:
        """Get the keys of account and role. Raises `TokenRefused` too."""
        settings = self._settings
        answer = self._run(
            f"get keys for role {settings.role_name} of account {settings.account_id}",
            lambda: self._client("sso").get_role_credentials(
                roleName=settings.role_name, accountId=settings.account_id, accessToken=token.access_token.reveal()
            ),
        )
        given = answer.get("roleCredentials") or {}
        keys = [_text(given, name) for name in ("accessKeyId", "secretAccessKey", "sessionToken")]
        expires_at = self._sdk.skew.local(_number(given, "expiration") / 1000)
        details = {"account_id": settings.account_id, "role": settings.role_name}
        return Session(keys[0], Secret(keys[1]), Secret(keys[2]), expires_at, details)

    def sign_out(self, token: SsoToken) -> None:
        """End the sign-in. Raises `TokenRefused` where it had ended."""
        self._run("sign out", lambda: self._client("sso").logout(accessToken=token.access_token.reveal()))

    # --- how ----------------------------------------------------------------------------------------------------

    def session_name(self) -> str | None:
        """Find the AWS CLI's name for sign-ins at this Identity Center; None where it has none."""
        if self._settings.session is not None:
            return self._settings.session
        known = self._run("read the AWS config", lambda: self._sdk.session().full_config).get("sso_sessions", {})
        for name, written in known.items():
            if place(str(written.get("sso_start_url")), str(written.get("sso_region"))) == self._settings.place:
                return str(name)
        return None

    def _signing_in(self, what: str, call: Callable[[Library], Mapping[str, Any]]) -> Mapping[str, Any]:
        return self._run(what, lambda: call(self._client("sso-oidc")))

    def _client(self, service: str) -> Library:
        return self._sdk.client(service, None, self._settings.region)

    def _run(self, what: str, call: Callable[[], T]) -> T:
        from broker.sources.aws.sso.errors import translated  # noqa: PLC0415  # late: it loads botocore

        try:
            return call()
        except Exception as error:  # noqa: BLE001  # whatever the library raises
            raise translated(error, self._settings, self._sdk, what, self._command) from None


def _number(answer: Mapping[str, Any], name: str) -> float:
    number = answer.get(name)
    if not isinstance(number, int | float) or not abs(number) < _NUMBER_MAX:
        raise TransientFetchError(f"the Identity Center's answer has no usable {name}; check `region` of sso")
    return float(number)


def _text(answer: Mapping[str, Any], name: str) -> str:
    text = answer.get(name)
    if not isinstance(text, str) or flaw(text) is not None:
        raise TransientFetchError(f"the Identity Center's answer has no usable {name}; check `region` of sso")
    return text
