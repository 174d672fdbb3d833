"""What an `oauth` source and its credentials take in the config.

[sources.gateway]
type = "oauth"
flow = "client-credentials"
issuer = "https://login.corp.example/realms/dev"      # or token_url = ...
client_id = "claude-code"
client_secret = { keyring = "gateway/client-secret" }
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from broker.durations import Duration
from broker.model import Kind
from broker.sources.references import Reference
from broker.sources.web.server import Server, checked_url, settle_tls_files

Flow = Literal["client-credentials", "device", "authorization-code", "token-exchange", "jwt-bearer"]
ClientAuth = Literal["basic", "post", "private_key_jwt", "mtls", "none"]
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"]

BY_A_PERSON: Final = frozenset({"device", "authorization-code"})
"""The flows in which a person signs in, and a refresh token is kept of it."""

_TIMEOUT: Final = Duration(10)
_URLS: Final = ("issuer", "token_url", "device_url", "authorize_url", "revoke_url")
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*", re.ASCII)
"""RFC 6749, 3.3."""
_TYPES: Final = "urn:ietf:params:oauth:token-type:"
_SHORT_TYPES: Final = frozenset({"access_token", "refresh_token", "id_token", "saml1", "saml2", "jwt"})
_PAGE: Final = re.compile(r"http://(?:127\.0\.0\.1|localhost)(?::[0-9]{1,5})?/[a-z/]{0,100}", re.ASCII)
# What we set ourselves: an extra parameter of that name would undo the protection that it is.
_OURS: Final = frozenset(
    {"client_id", "response_type", "redirect_uri", "state", "code_challenge", "code_challenge_method", "scope"}
)


@dataclass(frozen=True, slots=True)
class OAuthSourceSettings:
    """Which provider, how to reach it, and which client we are there; `timeout` is of one call, in seconds.

    `token_audience` and `resource` (RFC 8707) say for whom a token is to be. `login_scope`: what a person is asked to
    agree to, where it is not what the credentials want together. `redirect_uri`: the page of this machine that the
    provider knows; its port is free to choose where none is named. `authorize_params`: what else the provider wants
    in the address that the browser is sent to.
    """

    flow: Flow
    client_id: str
    issuer: str | None = None
    token_url: str | None = None
    device_url: str | None = None
    authorize_url: str | None = None
    revoke_url: str | None = None
    client_auth: ClientAuth | None = None
    client_secret: Reference | None = None
    private_key: Reference | None = None
    key_algorithm: Algorithm = "RS256"
    key_id: str | None = None
    token_audience: str | None = None
    login_scope: str | None = None
    redirect_uri: str | None = None
    authorize_params: Mapping[str, Any] = field(default_factory=dict)
    ca_cert: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    tls_server_name: str | None = None
    allow_http: bool = False
    timeout: Duration = _TIMEOUT

    def __post_init__(self) -> None:
        settle_tls_files(self)
        for name in _URLS:
            if (url := getattr(self, name)) is not None:
                check_url(name, url, allow_http=self.allow_http)
        if not (self.client_id and self.client_id.isprintable()):
            raise ValueError("client_id must be the text that the provider knows us by")
        _check_scope("login_scope", self.login_scope)
        self._check_client_auth()
        self._check_page()
        self._check_endpoints()

    def _check_endpoints(self) -> None:
        needed = {"device": ("device_url",), "authorization-code": ("authorize_url",)}.get(self.flow, ())
        missing = [name for name in ("token_url", *needed) if getattr(self, name) is None]
        if self.issuer is None and missing:
            raise ValueError(f"{missing[0]} is missing; give it, or issuer, whose metadata has it")

    def _check_client_auth(self) -> None:
        way = self.authentication
        if (way in {"basic", "post"}) != (self.client_secret is not None):
            raise ValueError("client_secret belongs to client_auth = basic or post, and they need it")
        if (way == "private_key_jwt") != (self.private_key is not None):
            raise ValueError("private_key belongs to client_auth = private_key_jwt, which needs it")
        if way == "mtls" and self.client_cert is None:
            raise ValueError("client_auth = mtls needs client_cert and client_key")
        if self.key_id is not None and self.private_key is None:
            raise ValueError("key_id belongs to private_key")

    def _check_page(self) -> None:
        if self.redirect_uri is not None and not _PAGE.fullmatch(self.redirect_uri):
            raise ValueError("redirect_uri must be a page of this machine, such as http://127.0.0.1:8250/callback")
        if _OURS & self.authorize_params.keys():
            raise ValueError(f"authorize_params must leave {', '.join(sorted(_OURS))} to the broker")
        if not all(isinstance(value, str) for value in self.authorize_params.values()):
            raise ValueError("authorize_params must be texts")

    @property
    def authentication(self) -> ClientAuth:
        """How we show at the token endpoint that we are the client: as given, else by what there is."""
        if self.client_auth is not None:
            return self.client_auth
        if self.client_secret is not None:
            return "basic"
        if self.private_key is not None:
            return "private_key_jwt"
        return "mtls" if self.client_cert is not None else "none"

    @property
    def place(self) -> str:
        """The provider, for messages and for what is kept of it."""
        return self.issuer or self.token_url or ""

    def server(self, url: str) -> Server:
        """Say how to reach one of the provider's addresses."""
        key = next((name for name in _URLS if getattr(self, name) == url), "issuer" if self.issuer else "token_url")
        return Server(
            url,
            key,
            self.ca_cert,
            self.client_cert,
            self.client_key,
            self.tls_server_name,
            self.timeout,
            "set ca_cert, or tls_server_name",
        )


@dataclass(frozen=True, slots=True)
class OAuthSettings:
    """What to ask the provider for. `subject_token`: what is exchanged, or the assertion of `jwt-bearer`.

    A token's type is one of `access_token`, `id_token`, `jwt`, `refresh_token`, `saml1`, `saml2`, or a whole URI
    (RFC 8693, 3). `token`: which one of the answer's is the credential.
    """

    scope: str | None = None
    resource: str | None = None
    subject_token: Reference | None = None
    subject_token_type: str = "access_token"  # noqa: S105  # the name of a type
    actor_token: Reference | None = None
    actor_token_type: str = "access_token"  # noqa: S105  # the name of a type
    requested_token_type: str | None = None
    token: Literal["access_token", "id_token"] = "access_token"  # noqa: S105  # the name of a field

    def __post_init__(self) -> None:
        _check_scope("scope", self.scope)
        if self.resource is not None and not _is_resource(self.resource):
            raise ValueError("resource must be an absolute URI without a fragment, such as https://gateway.example")
        for name in ("subject_token_type", "actor_token_type", "requested_token_type"):
            if (given := getattr(self, name)) is not None:
                object.__setattr__(self, name, _token_type(name, given))

    @property
    def kind(self) -> Kind:
        """What it will be."""
        return Kind.ID_TOKEN if self.token == "id_token" else Kind.API_KEY  # noqa: S105  # the name of a field


def check_url(key: str, url: str, *, allow_http: bool) -> None:
    """Raise `ValueError` where a secret must not be sent to this address. An endpoint may have a query (RFC 6749, 3)."""
    checked_url(key, url.partition("?")[0], "https://login.example/token", allow_http=allow_http)
    if not url.isprintable() or " " in url or "#" in url:
        raise ValueError(f"{key} must be a URL such as https://login.example/token")


def _check_scope(name: str, scope: str | None) -> None:
    if scope is not None and not _SCOPE.fullmatch(scope):
        raise ValueError(f'{name} must be words with single blanks between them, such as "openid models.read"')


def _is_resource(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return bool(parts.scheme) and bool(parts.netloc or parts.path) and "#" not in text and text.isprintable()


def _token_type(name: str, given: str) -> str:
    if given in _SHORT_TYPES:
        return _TYPES + given
    if ":" not in given or not given.isprintable() or " " in given:
        raise ValueError(f"{name} must be a URI, or one of {', '.join(sorted(_SHORT_TYPES))}")
    return given
