"""Authlib's client over our transport: one request to a token endpoint, with our proof that we are the client.

Loads the libraries: import it from a thread, at the first call.
"""

from __future__ import annotations

import json
import re
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal
from urllib.parse import quote_plus

import requests
from authlib.integrations.requests_client.oauth2_session import OAuth2ClientAuth
from authlib.oauth2.auth import encode_client_secret_basic
from authlib.oauth2.client import OAuth2Client
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc import jwk, jwt
from joserfc.errors import JoseError, SecurityWarning

from broker.errors import PermanentFetchError
from broker.sources.oauth.refusals import ErrorAnswer
from broker.sources.oauth.settings import OAuthSourceSettings

SECRET: Final = "client_secret"  # noqa: S105  # the name of a secret
KEY: Final = "private_key"

_METHODS: Final = {
    "basic": "client_secret_basic",
    "post": "client_secret_post",
    "private_key_jwt": "private_key_jwt",
    "mtls": "none",  # the certificate shows it: RFC 8705 wants client_id in the body, as a client without a secret has
    "none": "none",
}
# Of keys and algorithms that are out of favour: the provider chose them, and the daemon's log is no place for Python's.
warnings.filterwarnings("ignore", category=SecurityWarning, module="joserfc")

_ASSERTION_S: Final = 120
"""How long our assertion is good, so that one who reads it on its way gains little; clocks may differ by that."""
_PEM: Final = re.compile(r"(-----BEGIN [A-Z ]+-----) (.+) (-----END [A-Z ]+-----)", re.ASCII)
_KEY_TYPES: Final[dict[str, Literal["RSA", "EC", "OKP"]]] = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}


class ProviderClient(OAuth2Client):  # type: ignore[misc]  # Authlib has no types
    """What we are at one provider. Its calls raise what `errors.translated` reads."""

    client_auth_class = OAuth2ClientAuth
    oauth_error_class = ErrorAnswer
    token: Any = None
    """An answer as it came: the library's own fails at a time that it cannot read, and the refresh token beside it,
    which is the only good one by then, would be lost."""

    @classmethod
    def made(
        cls, settings: OAuthSourceSettings, transport: requests.Session, secrets: Mapping[str, str]
    ) -> ProviderClient:
        """Make one that shows our `secrets`: `SECRET` or `KEY`, where there is one."""
        method = _METHODS[settings.authentication]
        own = signing_key(secrets[KEY], settings.key_algorithm) if KEY in secrets else secrets.get(SECRET)
        made = cls(transport, settings.client_id, own, method, method)
        if method == "client_secret_basic":
            made.register_client_auth_method((method, _basic))
        if method == "private_key_jwt":
            made.register_client_auth_method(_assertion(settings))
        return made

    def ask(self, url: str, grant_type: str, params: Mapping[str, str]) -> dict[str, Any]:
        """Ask for a token."""
        answer: dict[str, Any] = self.fetch_token(url, grant_type=grant_type, **params)
        return answer

    def authorization(self, url: str, state: str, verifier: str, params: Mapping[str, Any]) -> str:
        """Make the address that a browser is sent to; the code it gets is good only with `verifier` (RFC 7636)."""
        self.code_challenge_method = "S256"
        address, _ = self.create_authorization_url(url, state, verifier, **params)
        return str(address)

    def begin_device(self, url: str, params: Sequence[tuple[str, str]]) -> object:
        """Ask for a device code (RFC 8628, 3.1)."""
        auth = self.client_auth(self.token_endpoint_auth_method)
        # The answer has the form of a token's: an object, or an error.
        return self.parse_response_token(self.session.post(url, data=list(params), auth=auth, headers=_headers()))

    def revoke(self, url: str, token: str) -> None:
        """Have a refresh token forgotten (RFC 7009)."""
        self.revoke_token(url, token=token, token_type_hint="refresh_token").raise_for_status()  # noqa: S106  # a hint


def signing_key(text: str, algorithm: str) -> Any:  # noqa: ANN401  # the library's
    """Read a key, PEM or JWK, that fits the algorithm. Raises `PermanentFetchError`."""
    wanted = _KEY_TYPES[algorithm[:2]]
    try:
        key = jwk.import_key(json.loads(text) if text.lstrip().startswith("{") else _lines(text), wanted)
        jwt.encode({"alg": algorithm}, {}, key, algorithms=[algorithm])  # else a wrong curve shows only in the request
        if key.is_private:
            return key
    except (JoseError, ValueError, TypeError, KeyError):
        pass
    raise PermanentFetchError(
        f"private_key is no private key, PEM or JWK, for {algorithm}; check it and key_algorithm of the source"
    )


def _lines(pem: str) -> str:
    """Break it into lines again: as a secret it is one."""
    found = _PEM.fullmatch(pem)
    return pem if found is None else "\n".join([found[1], *found[2].split(), found[3], ""])


def _assertion(settings: OAuthSourceSettings) -> Any:  # noqa: ANN401  # the library's
    header = {"kid": settings.key_id} if settings.key_id is not None else None
    claims = {"exp": int(time.time()) + _ASSERTION_S}
    return PrivateKeyJWT(claims=claims, headers=header, alg=settings.key_algorithm)


def _basic(client: Any, method: str, uri: str, headers: Any, body: Any) -> Any:  # noqa: ANN401  # the library's signature
    """Encode both as a form's values first (RFC 6749, 2.3.1), which the library leaves out."""
    encoded = OAuth2ClientAuth(quote_plus(client.client_id), quote_plus(client.client_secret))
    return encode_client_secret_basic(encoded, method, uri, headers, body)


def _headers() -> dict[str, str]:
    return {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded;charset=UTF-8"}
