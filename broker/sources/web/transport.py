"""HTTP below the sources: TLS by our rules, answers of limited size, and no token where it does not belong.

Loads `requests`: import it from a thread, at the first call.
"""

from __future__ import annotations

import ssl
import threading
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies

from broker.clock import SystemClock
from broker.errors import PermanentFetchError
from broker.sources.web.server import Server

ANSWER_MAX: Final = 4 * 1024 * 1024
_POOL: Final = 64
"""Connections kept: below what many credentials use at once the library would warn in the log."""
_REDIRECTS_MAX: Final = 3
_UNUSED_MAX_S: Final = 30.0
"""A connection that nobody used for longer is not used again. Who was asleep meanwhile, or is on another network, was
not told that the server closed it: the first to ask after waking would wait for an answer until the time-out."""


class AnswerTooLarge(requests.RequestException):
    """No secret is that large."""

    def __init__(self) -> None:
        super().__init__(f"its answer has more than {ANSWER_MAX // 1024 // 1024} MiB")


class Busy(requests.RequestException):
    """The server wants to be left alone for `retry_after_s`."""

    def __init__(self, status: int, retry_after_s: float) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.retry_after_s = retry_after_s


class Transport(requests.Session):
    """One pool of connections to one server."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        # Else a proxy of the environment reads plain http, and a netrc's password goes out with every call.
        self.trust_env = False
        self.max_redirects = _REDIRECTS_MAX
        self.mount("http://", _Bounded(pool_maxsize=_POOL))
        if server.address.startswith("https:"):
            self.proxies = get_environ_proxies(server.address)
            self.mount("https://", _OurTLS(server))
        self._guard = threading.Lock()
        self._used_at = _now()

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Follow a standby server to the active one, but never from https to http: the token would go with it."""
        target = super().get_redirect_target(resp)
        if target is None or urlsplit(resp.url).scheme == "http":
            return None
        return target if urlsplit(requests.compat.urljoin(resp.url, target)).scheme == "https" else None

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:  # noqa: ANN401  # the library's signature
        """Tell apart a server that wants to be left alone. Raises `Busy`."""
        self._let_go_of_old_connections()
        response = super().send(request, **kwargs)
        if response.status_code in {429, 503} and (retry_after := response.headers.get("Retry-After", "")).isdecimal():
            raise Busy(response.status_code, float(retry_after[:9]))
        return response

    def _let_go_of_old_connections(self) -> None:
        with self._guard:  # nobody may take a connection while they are closed
            before, self._used_at = self._used_at, _now()
            if self._used_at - before > _UNUSED_MAX_S:
                self.close()


def _now() -> float:
    return SystemClock().now().mono  # counts time asleep


def _pieces(response: requests.Response) -> Any:  # noqa: ANN401  # of bytes
    size = 0
    for piece in response.iter_content(65_536):
        size += len(piece)
        if size > ANSWER_MAX:
            response.close()
            raise AnswerTooLarge
        yield piece


class _Bounded(HTTPAdapter):
    """Reads no answer to its end that is too large to be one.

    Here and not in the session: that one reads an answer that leads elsewhere before it gives it to anybody.
    """

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:  # noqa: ANN401  # the library's signature
        """Send, and read the answer. Raises `AnswerTooLarge`."""
        response = super().send(*args, **kwargs)
        content = b"".join(_pieces(response))
        response._content, response._content_consumed = content, True  # type: ignore[attr-defined]  # noqa: SLF001  # as its own `content` does
        return response


class _OurTLS(_Bounded):
    """The system's certificate authorities and the usual ones, or `ca_cert` alone."""

    def __init__(self, server: Server) -> None:
        self._context = context(server)
        self._name = server.tls_server_name
        super().__init__(pool_maxsize=_POOL)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # the library's signature
        """Use our context."""
        named = {"server_hostname": self._name} if self._name is not None else {}
        super().init_poolmanager(*args, **{**kwargs, "ssl_context": self._context, **named})

    def cert_verify(self, _conn: object, _url: object, _verify: object, _cert: object) -> None:
        """Leave it to the context: here the library would add its own list of authorities to it."""


def context(server: Server) -> ssl.SSLContext:
    """Make the TLS context. Raises `PermanentFetchError` where a file of the settings is no use."""
    made = ssl.create_default_context()
    if server.ca_cert is None:
        made.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
    else:
        made = _only(server.ca_cert)
    if server.client_cert is not None and server.client_key is not None:
        try:
            made.load_cert_chain(server.client_cert, server.client_key, password="")  # never ask on a terminal
        except (OSError, ValueError) as error:
            raise PermanentFetchError(
                f"{server.client_cert} and {server.client_key} are no certificate and key that belong together"
                f" ({_reason(error)})"
            ) from None
    return made


def _only(ca_cert: str) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        made.load_verify_locations(ca_cert)
    except OSError as error:
        raise PermanentFetchError(f"{ca_cert}: no file of PEM certificates ({_reason(error)})") from None
    return made


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return str(error.reason or "not PEM").lower().replace("_", " ")
    return (error.strerror if isinstance(error, OSError) else None) or "unusable"
