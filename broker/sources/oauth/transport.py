"""HTTP to an OAuth provider: as every source's, and no redirect is followed.

Loads `requests`: import it from a thread, at the first call.
"""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import Any, Final

import requests

from broker.sources.web.server import Server
from broker.sources.web.transport import Busy, Transport

_CONNECT_S: Final = 5.0
_TOO_MANY: Final = 429


class Redirected(requests.RequestException):
    """An endpoint sends us elsewhere."""


class ProviderTransport(Transport):
    """One pool of connections to one address of the provider's."""

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._timeout = (min(_CONNECT_S, server.timeout), server.timeout)

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Go nowhere: a secret, a code or a refresh token would be repeated to whoever is named there."""
        if super(Transport, self).get_redirect_target(resp) is not None:
            resp.close()
            raise Redirected(f"status {resp.status_code}")
        return None

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:  # noqa: ANN401  # the library's signature
        """Bound it in time. Raises `Busy` for 429, whatever stands in it."""
        response = super().send(request, **{**kwargs, "timeout": self._timeout})
        if response.status_code == _TOO_MANY:
            raise Busy(response.status_code, retry_after_s(response.headers.get("Retry-After", ""), time.time()))
        return response


def retry_after_s(text: str, now: float) -> float:
    """Read `Retry-After` (RFC 9110, 10.2.3), seconds or a date; 0 where it says nothing."""
    if text.isdecimal() and text.isascii():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return 0.0
