r"""The base URLs that a credential may be released for: which texts are such, and which lies within which.

Stricter than any URL parser, because parsers disagree: of `http://A\@B` Claude Code dials A where Python says B.
What two parsers could read in two ways is refused here.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple, NewType

from broker.model import Kind

BaseURL = NewType("BaseURL", str)
"""A text without `problem`."""

_URL: Final = re.compile(
    r"https?://(?P<host>(?:\*\.)?[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*|\[[0-9A-Fa-f:.]+\])"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>(?:/[A-Za-z0-9._~!$&'()*+,;=:@-]*)*)",
    re.ASCII,
)
_LABEL: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)", re.ASCII)
_NUMERIC: Final = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*", re.ASCII)
_BEDROCK: Final = ("https://bedrock-runtime.*.amazonaws.com", "https://bedrock-runtime-fips.*.amazonaws.com")
_VERTEX: Final = (
    "https://aiplatform.googleapis.com",
    "https://*-aiplatform.googleapis.com",
    "https://aiplatform.us.rep.googleapis.com",
    "https://aiplatform.eu.rep.googleapis.com",
)
_DEFAULTS: Final[dict[Kind, tuple[str, ...]]] = {
    Kind.API_KEY: ("https://api.anthropic.com",),
    Kind.AWS_SESSION: _BEDROCK,
    Kind.BEDROCK_API_KEY: _BEDROCK,
    Kind.ACCESS_TOKEN: _VERTEX,
}
"""Here a star may stand anywhere in the host, for a region's name; what a person writes is not read so."""

_REGION: Final = "[a-z0-9-]{1,40}"
_PORTS: Final = {"http": 80, "https": 443}
_PORT_MAX: Final = 65535
_HOST_MAX: Final = 253


def problem(url: str) -> str | None:
    """Say why `url` cannot be an audience, without quoting it; None where it can."""
    match = _URL.fullmatch(url)
    if match is None:
        return (
            'expected a base URL such as "https://llm.example:4000" or "https://*.example"'
            " (http or https; no user, query, fragment or % escapes)"
        )
    if match["port"] and not 0 < int(match["port"]) <= _PORT_MAX:
        return "expected a port from 1 to 65535"
    if not _is_host(match["host"]):
        return "expected a host name or an IP address in its usual form"
    # Some servers drop what follows a semicolon before they resolve the dots: /anthropic/..;/other
    if any(segment.partition(";")[0] in {".", ".."} for segment in match["path"].split("/")):
        return "expected a path without . and .. segments"
    return None


def default(kind: Kind) -> tuple[str, ...]:
    """Return the audience of a credential that names none: the provider's own endpoints for its kind.

    Some of it is in a form of our own (see `_DEFAULTS`): to be given to `covers`, and not to be shown as an example.
    """
    return _DEFAULTS.get(kind, ())


def covers(audience: Iterable[str], url: str) -> bool:
    """Whether `url` lies within one of these base URLs; never where it is no plain one itself.

    Scheme, host and port are equal (no port is the scheme's usual one; a leading `*.` stands for exactly one label of
    a name), and the path begins with whole segments of the base's.
    """
    parts = _parts(url)
    if parts is None:
        return False
    return any(_lies_within(parts, base) for base in map(_parts, audience) if base) or _is_own(url, audience)


class _Parts(NamedTuple):
    scheme: str
    host: str
    port: int
    segments: tuple[str, ...]


@lru_cache(maxsize=256)
def _parts(url: str) -> _Parts | None:
    """Split a base URL; None where it is none."""
    match = _URL.fullmatch(url)
    if match is None or problem(url) is not None:
        return None
    scheme, host = url.partition(":")[0], match["host"].lower()
    if host.startswith("["):
        host = ipaddress.IPv6Address(host[1:-1]).compressed
    port = int(match["port"]) if match["port"] else _PORTS[scheme]
    return _Parts(scheme, host, port, tuple(segment for segment in match["path"].split("/") if segment))


def _is_own(url: str, audience: Iterable[str]) -> bool:
    """Whether a plain base URL is at one of the providers' own endpoints for any region, where `audience` has these."""
    found = (_own(base) for base in audience)
    return any(base.match(url) for base in found if base is not None)


@lru_cache(maxsize=256)
def _own(base: str) -> re.Pattern[str] | None:
    if not any(base in bases for bases in _DEFAULTS.values()):
        return None  # a person's: `*` means less there
    return re.compile(re.escape(base).replace(r"\*", _REGION) + r"(?::443)?(?:/|\Z)", re.ASCII | re.IGNORECASE)


def _lies_within(url: _Parts, base: _Parts) -> bool:
    if (url.scheme, url.port) != (base.scheme, base.port) or url.host.startswith("*"):
        return False
    host = "*." + url.host.partition(".")[2] if base.host.startswith("*.") else url.host
    return host == base.host and url.segments[: len(base.segments)] == base.segments


def _is_host(host: str) -> bool:
    if host.startswith("["):
        return _is_address(host[1:-1], ipaddress.IPv6Address)
    labels = host.removeprefix("*.").split(".")
    if _NUMERIC.fullmatch(labels[-1]):  # `127.1` and `0x7f.1` are addresses to some parsers and names to others
        return _is_address(host, ipaddress.IPv4Address)
    return len(host) <= _HOST_MAX and all(_LABEL.fullmatch(label) for label in labels)


def _is_address(text: str, family: type[ipaddress.IPv4Address | ipaddress.IPv6Address]) -> bool:
    try:
        family(text)
    except ValueError:
        return False
    return True
