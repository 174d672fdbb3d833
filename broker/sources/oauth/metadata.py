"""What a provider says of itself (OpenID Connect Discovery 1.0; RFC 8414): where its endpoints are. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from broker.errors import PermanentFetchError
from broker.sources.oauth.settings import OAuthSourceSettings, check_url

_ENDPOINTS: Final = {
    "token_url": "token_endpoint",
    "device_url": "device_authorization_endpoint",
    "authorize_url": "authorization_endpoint",
    "revoke_url": "revocation_endpoint",
}
"""The metadata's names, by the settings that override them."""
_NAMES_ITSELF: Final = "authorization_response_iss_parameter_supported"
_ALIASES: Final = "mtls_endpoint_aliases"
_URL_MAX: Final = 2048


@dataclass(frozen=True, slots=True)
class Metadata:
    """The endpoints, by the names of the settings, and the scopes that are known to exist.

    `names_itself`: the answers that a browser brings back say whose they are (RFC 9207).
    """

    endpoints: dict[str, str]
    scopes: frozenset[str]
    names_itself: bool = False


def addresses(issuer: str) -> tuple[str, str]:
    """Say where the metadata may be: OpenID Connect appends the well-known path, RFC 8414 puts it before the issuer's."""
    parts = urlsplit(issuer)
    path = parts.path.rstrip("/")
    return (
        urlunsplit((parts.scheme, parts.netloc, f"{path}/.well-known/openid-configuration", "", "")),
        urlunsplit((parts.scheme, parts.netloc, f"/.well-known/oauth-authorization-server{path}", "", "")),
    )


def read(document: object, settings: OAuthSourceSettings) -> Metadata:
    """Take what we need of a provider's metadata. Raises `PermanentFetchError` where it is another's, or unsafe."""
    issuer = settings.issuer
    if not isinstance(document, dict) or not isinstance(document.get("issuer"), str):
        raise PermanentFetchError(f"{issuer}: its metadata is none; check `issuer`, or set token_url")
    # Compared to the letter (RFC 8414, 3.3): who gets one provider's metadata served at another's address, would
    # have us send a secret of this one to endpoints of that one.
    if document["issuer"] != issuer:
        raise PermanentFetchError(
            f"{issuer}: its metadata is for {_shown(document['issuer'])}; write `issuer` exactly so if that is right"
        )
    found = {name: document.get(field) for name, field in _ENDPOINTS.items()}
    if settings.client_cert is not None:  # RFC 8705, 5
        aliases = document.get(_ALIASES)
        found |= _given(aliases) if isinstance(aliases, dict) else {}
    endpoints = {name: _endpoint(name, url, settings) for name, url in found.items() if url is not None}
    scopes = document.get("scopes_supported")
    known = [scope for scope in scopes if isinstance(scope, str)] if isinstance(scopes, list) else []
    return Metadata(endpoints, frozenset(known), document.get(_NAMES_ITSELF) is True)


def _given(aliases: dict[str, Any]) -> dict[str, Any]:
    return {name: aliases[field] for name, field in _ENDPOINTS.items() if aliases.get(field) is not None}


def _endpoint(name: str, url: object, settings: OAuthSourceSettings) -> str:
    field = _ENDPOINTS[name]
    if not isinstance(url, str) or len(url) > _URL_MAX or not url.isascii():
        raise PermanentFetchError(f"{settings.issuer}: its metadata has something as {field} that is no address")
    try:
        check_url(name, url, allow_http=settings.allow_http)
    except ValueError:
        raise PermanentFetchError(
            f"{settings.issuer}: its metadata has an address as {field} that is no https URL; set {name}"
        ) from None
    return url


def _shown(issuer: str) -> str:
    return issuer if issuer.isascii() and issuer.isprintable() and len(issuer) <= 200 else "another one"  # noqa: PLR2004  # what fits into a line
