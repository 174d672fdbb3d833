"""Why a server could not be talked to, in our words.

Loads `requests`: import it from a thread, at the first call.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import requests
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from broker.sources.web.server import Server
from broker.sources.web.transport import AnswerTooLarge


def unreached(error: Exception, server: Server) -> str:
    """Say what happened and what to look at, without the server's name."""
    if isinstance(error, requests.Timeout):
        return f"no answer within {server.timeout:g} s (the source's timeout); {_whether_there(server)}"
    if isinstance(error, AnswerTooLarge):
        return f"{error}; check `{server.key}` of the source (is that the right server?)"
    known = (_known(cause, server) for cause in _causes(error))
    return next(
        (words for words in known if words),
        f"cannot be reached ({type(error).__name__}); {_whether_there(server)}",
    )


def may_be_sent(error: Exception) -> bool:
    """Whether the request may have left this machine before it failed; where that cannot be told, it may."""
    before = (NewConnectionError, ConnectTimeoutError, ssl.SSLCertVerificationError)
    return not any(isinstance(cause, before) for cause in _causes(error))


def _whether_there(server: Server) -> str:
    return f"check `{server.key}` of the source, the network (a VPN?), and whether the server runs"


def _known(cause: BaseException, server: Server) -> str:
    match cause:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not to be trusted ({cause.verify_message}); {server.mends_trust}"
        case ssl.SSLError():
            reason = str(getattr(cause, "reason", None) or "no reason given").lower().replace("_", " ")
            ours = "client_cert (expired, or of an authority that the server does not know?), and "
            return f"TLS fails ({reason}); check {ours if server.client_cert else ''}`{server.key}` of the source (http or https?)"
        case socket.gaierror():
            return f"its name is not known (DNS); {_whether_there(server)}"
        case ConnectionRefusedError():
            return f"nothing listens there (connection refused); {_whether_there(server)}"
        case OSError() if cause.strerror:
            return f"cannot be reached ({cause.strerror}); {_whether_there(server)}"
    return ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Give what lies below: requests and urllib3 wrap what the system says several times, in different ways."""
    seen: set[int] = set()
    todo: list[object] = [error]
    while todo:
        found = todo.pop()
        if not isinstance(found, BaseException) or id(found) in seen:
            continue
        seen.add(id(found))
        if not isinstance(found, requests.RequestException):
            yield found
        todo += [found.__context__, found.__cause__, getattr(found, "reason", None), *found.args]
