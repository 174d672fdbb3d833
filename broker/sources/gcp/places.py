"""Where Google's services are, and which addresses a credentials' JSON may name.

The JSON is often written by somebody else (a download, a colleague's set-up), and Google's libraries believe every
address in it: a service account's signed assertion, sent to another place than Google's, is as good as a token.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from broker.sources.web.server import checked_url

DEFAULT_UNIVERSE: Final = "googleapis.com"
"""The public cloud; sovereign clouds have domains of their own."""

_LOOPBACK: Final = re.compile(r"localhost|127(\.[0-9]{1,3}){3}|::1", re.ASCII)
_HOSTS_OF_AWS: Final = frozenset({"169.254.169.254", "fd00:ec2::254"})
_LINK_LOCAL: Final = "169.254.169.254"


@dataclass(frozen=True, slots=True)
class Apis:
    """Addresses that stand in for the public ones: Private Service Connect, a region's own, a test."""

    iamcredentials: str | None = None
    secretmanager: str | None = None
    oauth2: str | None = None
    accounts: str | None = None

    def __post_init__(self) -> None:
        for name in ("iamcredentials", "secretmanager", "oauth2", "accounts"):
            if (address := getattr(self, name)) is not None:
                example = f"https://{name}.{DEFAULT_UNIVERSE}"
                object.__setattr__(self, name, checked_url(name, address, example, allow_http=None))


def address(apis: Apis, service: str, universe: str, location: str | None = None) -> str:
    """Return the base URL of a service."""
    given: str | None = getattr(apis, service)
    if given is not None:
        return given
    if service == "accounts":
        return "https://accounts.google.com"
    return f"https://{service}.{location}.rep.{universe}" if location else f"https://{service}.{universe}"


def is_googles(url: str, universe: str) -> bool:
    """Whether a token, or what is as good as one, may be sent there: Google's over TLS, or this machine itself."""
    host = _host(url, {"https"})
    if host is None:
        return is_loopback(url)
    return any(host == domain or host.endswith(f".{domain}") for domain in {universe, DEFAULT_UNIVERSE, "google.com"})


def is_loopback(url: str) -> bool:
    """Whether it is of this machine."""
    host = _host(url, {"http", "https"})
    return host is not None and _LOOPBACK.fullmatch(host) is not None


def may_be_asked(url: str) -> bool:
    """Whether a workload's token may be fetched there: by TLS, or from this machine or its cloud's metadata."""
    return _host(url, {"https"}) is not None or is_loopback(url) or _host(url, {"http"}) == _LINK_LOCAL


def is_of_aws_metadata(url: str) -> bool:
    """Whether it is AWS's metadata service, as far as an address tells."""
    return is_loopback(url) or _host(url, {"http"}) in _HOSTS_OF_AWS


def _host(url: str, schemes: set[str]) -> str | None:
    try:
        parts = urlsplit(url)
        host = parts.hostname
        sound = parts.scheme in schemes and host and (parts.port or 1) > 0
    except ValueError:
        return None
    # Parsers disagree about what comes before an @ or after a backslash.
    return host if sound and "@" not in parts.netloc and "\\" not in url and url.isprintable() else None
