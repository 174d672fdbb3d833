"""Why a server could not be talked to, in our words.

Loads `requests`: import it from a thread, at the first call.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import requests
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ProxyError

from broker.sources.web.causes import causes, words
from broker.sources.web.server import Server
from broker.sources.web.transport import AnswerTooLarge


def unreached(error: Exception, server: Server) -> str:
    """Say what happened and what to look at, without the server's name."""
    if isinstance(error, requests.Timeout):
        return f"no answer within {server.timeout:g} s (the source's timeout); {_whether_there(server)}"
    if isinstance(error, AnswerTooLarge):
        return f"{error}; check `{server.key}` of the source (is that the right server?)"
    if isinstance(error, requests.exceptions.ProxyError):
        # What lies below is about the proxy: "nothing listens there" would be taken for the server.
        return (
            "the proxy of the environment (HTTPS_PROXY) cannot be reached, or does not let us through; check that"
            " variable, and NO_PROXY, where the daemon was started"
        )
    known = (_known(cause, server) for cause in _below(error))
    return next(
        (said for said in known if said),
        f"cannot be reached ({type(error).__name__}); {_whether_there(server)}",
    )


def may_be_sent(error: Exception) -> bool:
    """Whether the request may have left this machine before it failed; where that cannot be told, it may."""
    before = (NewConnectionError, ConnectTimeoutError, ProxyError, ssl.SSLCertVerificationError)
    return not any(isinstance(cause, before) for cause in _below(error))


def _whether_there(server: Server) -> str:
    return f"check `{server.key}` of the source, the network (a VPN?), and whether the server runs"


def _known(cause: BaseException, server: Server) -> str:
    found = words(cause)
    return f"{found}; {_hint(cause, server)}" if found else ""


def _hint(cause: BaseException, server: Server) -> str:
    match cause:
        case ssl.SSLCertVerificationError():
            return server.mends_trust
        case ssl.SSLError():
            ours = "client_cert (expired, or of an authority that the server does not know?), and "
            return f"check {ours if server.client_cert else ''}`{server.key}` of the source (http or https?)"
    return _whether_there(server)


def _below(error: BaseException) -> Iterator[BaseException]:
    """Give what the library wrapped: its own errors are the system's by type."""
    return (cause for cause in causes(error) if not isinstance(cause, requests.RequestException))
