r"""The base URLs that a credential may be released for, as the config may write them.

Stricter than any URL parser, because parsers disagree: of `http://A\@B` Claude Code dials A where Python says B.
What two parsers could read in two ways is refused here.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final, NewType

BaseURL = NewType("BaseURL", str)
"""A text without `problem`."""

_URL: Final = re.compile(
    r"https?://(?P<host>(?:\*\.)?[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*|\[[0-9A-Fa-f:.]+\])"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>(?:/[A-Za-z0-9._~!$&'()*+,;=:@-]*)*)",
    re.ASCII,
)
_LABEL: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)", re.ASCII)
_NUMERIC: Final = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*", re.ASCII)
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
    if any(segment in {".", ".."} for segment in match["path"].split("/")):
        return "expected a path without . and .. segments"
    return None


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
