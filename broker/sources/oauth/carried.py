"""Requests that a courier makes for us: see `flight`.

Loads `requests`: import it from a thread, at the first call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import requests

from broker.errors import PermanentFetchError, TransientFetchError
from broker.sources.oauth.flight import Flight
from broker.sources.web.server import Server


class CarriedTransport(requests.Session):
    """Stands where a `ProviderTransport` does, for one request."""

    def __init__(self, server: Server, flight: Flight) -> None:
        super().__init__()
        self.trust_env = False
        self._server = server
        self._flight = flight

    def send(self, request: requests.PreparedRequest, **_how: Any) -> requests.Response:  # noqa: ANN401  # the library's signature
        """Have it sent. Raises what the courier met."""
        wanted = {"url": request.url, "headers": dict(request.headers), "body": request.body}
        return response(self._flight.carry(self._server, wanted))


def response(outcome: Mapping[str, Any]) -> requests.Response:
    """Make of what a courier says the answer that it got. Raises what it met."""
    if "failed" in outcome:
        if outcome["transient"]:
            raise TransientFetchError(outcome["failed"], retry_after_s=outcome["retry_after_s"])
        raise PermanentFetchError(outcome["failed"])
    made = requests.Response()
    made.status_code = outcome["status"]
    made._content = outcome["body"].encode()  # noqa: SLF001  # the library has no other way
    return made
