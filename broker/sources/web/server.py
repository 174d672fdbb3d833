"""A server that a source calls: where it is, and how we know that it is the right one."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import urlsplit

_LOOPBACK: Final = re.compile(r"localhost|127(\.[0-9]{1,3}){3}|::1", re.ASCII)


@dataclass(frozen=True, slots=True)
class Server:
    """`address`: its base URL, from the source's setting `key`; `timeout`: of one call, in seconds.

    `mends_trust`: what a person sets where its certificate is not trusted.
    """

    address: str
    key: str = "base_url"
    ca_cert: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    tls_server_name: str | None = None
    timeout: float = 10.0
    mends_trust: str = "set ca_cert"


def checked_url(key: str, url: str, example: str, *, allow_http: bool | None) -> str:
    """Return the base URL without a slash at its end. Raises `ValueError`, which does not quote it.

    `allow_http` None: the table has no such key.
    """
    try:
        parts = urlsplit(url)
        sound = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        sound = False
    if not sound or "@" in parts.netloc or parts.query or parts.fragment or not url.isprintable() or " " in url:
        raise ValueError(f"{key} must be a URL such as {example}, without user name or password")
    if parts.scheme == "http" and not allow_http and not _LOOPBACK.fullmatch(parts.hostname or ""):
        # Whoever listens on the way would read every secret, and the token that gives them all.
        insist = "" if allow_http is None else "; allow_http = true insists"
        raise ValueError(f"{key} must be https, as others on the network can read http{insist}")
    return url.rstrip("/")


class _WithTlsFiles(Protocol):
    """Frozen settings with files of TLS, of which `ca_cert` is one."""

    @property
    def client_cert(self) -> str | None:
        """Who we are."""

    @property
    def client_key(self) -> str | None:
        """The key that proves it."""


def settle_tls_files(settings: _WithTlsFiles) -> None:
    """Make their paths absolute while they are made. Raises `ValueError`."""
    for name in ("ca_cert", "client_cert", "client_key"):
        object.__setattr__(settings, name, absolute(name, getattr(settings, name)))
    if (settings.client_cert is None) != (settings.client_key is None):
        raise ValueError("client_cert and client_key belong together")


def absolute(name: str, path: str | None) -> str | None:
    """Return a file's path with `~` resolved. Raises `ValueError` where it depends on the working folder."""
    if path is None:
        return None
    expanded = os.path.expanduser(path)  # noqa: PTH111  # Path.expanduser raises instead
    if not expanded.startswith("/") or "\0" in expanded:
        raise ValueError(f"{name} must be an absolute path or begin with ~/")
    return expanded
