"""HTTP below google-auth: by our rules, within one deadline, and one try a call: when to try again is the engine's.

Loads `requests`: import it from a thread, at the first call.
"""

from __future__ import annotations

import email.utils
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self
from urllib.parse import parse_qsl, urlsplit

import requests

from broker.errors import TransientFetchError
from broker.sources.gcp.places import Apis
from broker.sources.gcp.settings import GcpSourceSettings
from broker.sources.web.server import Server
from broker.sources.web.transport import Busy, Transport
from broker.sources.web.unreached import unreached

_RETRY_LATER: Final = frozenset({408, 429, 500, 502, 503, 504})
_TRY_AGAIN: Final = ("internal_failure", "server_error", "temporarily_unavailable")
"""Errors that a token endpoint may state with any status (RFC 6749, 4.1.2.1)."""
_SECRETS: Final = frozenset(
    {"assertion", "client_secret", "code", "code_verifier", "refresh_token", "subject_token", "token"}
)
"""Parameters of token endpoints that a refusal may quote."""
_CONNECT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said, in the form of `google.auth.transport.Response`. `sent`: the secrets it was told."""

    url: str
    status: int
    headers: Mapping[str, str] = field(repr=False)
    data: bytes = field(repr=False)
    sent: tuple[str, ...] = field(default=(), repr=False)

    @property
    def json(self) -> dict[str, Any]:
        """The JSON object; an empty one where it is none."""
        try:
            body = json.loads(self.data)
        except (ValueError, RecursionError):
            return {}
        return body if isinstance(body, dict) else {}

    @property
    def ahead_s(self) -> float | None:
        """How far this machine's clock is ahead of the server's, in seconds; None where it does not tell."""
        try:
            there = email.utils.parsedate_to_datetime(self.headers.get("date", ""))
            return time.time() - there.timestamp()
        except (ValueError, OverflowError):
            return None


class Request:
    """Makes the calls of one fetch, as a `google.auth.transport.Request`. `last`: what was answered last."""

    def __init__(self, settings: GcpSourceSettings, limit_s: float) -> None:
        self._settings = settings
        self._ends_at = time.monotonic() + limit_s
        self._sessions: dict[str, Transport] = {}
        self.last: Answer | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        for session in self._sessions.values():
            session.close()

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **_others: Any,  # noqa: ANN401  # the library's signature
    ) -> Answer:
        """Make one call. Raises `TransientFetchError` where there is no answer, or the server wants another try.

        Not google-auth's own `TransportError`: it would try again by itself, several times.
        """
        limit_s = min(timeout or self._settings.timeout, self._settings.timeout, self._ends_at - time.monotonic())
        server = self._server(url, limit_s)
        if limit_s <= 0:
            raise TransientFetchError(f"{server.address}: not reached within the time for all calls together")
        try:
            session = self._session(server)
            limits = (min(_CONNECT_S, limit_s), limit_s)
            # No redirect is followed: a refresh token or an assertion in `body` would go along.
            answer = session.request(method, url, data=body, headers=headers, timeout=limits, allow_redirects=False)
        except Busy as busy:
            raise TransientFetchError(
                f"{server.address}: asked too often, or not ready (status {busy.status})",
                retry_after_s=busy.retry_after_s,
            ) from None
        except requests.RequestException as error:
            raise TransientFetchError(f"{server.address}: {unreached(error, server)}") from None
        if answer.is_redirect:
            raise TransientFetchError(
                f"{server.address}: it sends us elsewhere (status {answer.status_code}), where no secret follows;"
                f" check `{server.key}` of the source, and the network (a sign-in page before it?)"
            )
        self.last = Answer(url, answer.status_code, answer.headers, answer.content, _secrets_in(body))
        if answer.status_code in _RETRY_LATER or self.last.json.get("error") in _TRY_AGAIN:
            raise TransientFetchError(f"{server.address}: fails, or is asked too often (status {answer.status_code})")
        return self.last

    def _session(self, server: Server) -> Transport:
        if server.address not in self._sessions:
            self._sessions[server.address] = Transport(server)
        return self._sessions[server.address]

    def _server(self, url: str, limit_s: float) -> Server:
        parts = urlsplit(url)
        return Server(
            f"{parts.scheme}://{parts.netloc}",
            _key(url, self._settings.api_endpoints),
            self._settings.ca_cert,
            timeout=limit_s,
        )


def _secrets_in(body: bytes | None) -> tuple[str, ...]:
    return tuple(value for name, value in parse_qsl((body or b"").decode()) if name in _SECRETS)


def _key(url: str, apis: Apis) -> str:
    """Name the setting that the address comes from."""
    given = (apis.iamcredentials, apis.secretmanager, apis.oauth2, apis.accounts)
    return "api_endpoints" if any(place and url.startswith(place) for place in given) else "credentials"
