"""What goes wrong between us and the provider, in our words: one line with what mends it.

Loads `requests`: import it from a thread, at the first call.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

import requests

from broker.errors import FetchError, PermanentFetchError, TransientFetchError
from broker.secret import Secret, scrub
from broker.sources.complaint import last_line
from broker.sources.oauth.refusals import ErrorAnswer, NotThere, ProviderRefused
from broker.sources.oauth.transport import Redirected
from broker.sources.web.server import Server
from broker.sources.web.transport import Busy
from broker.sources.web.unreached import unreached

_UNAVAILABLE: Final = frozenset({"temporarily_unavailable", "server_error"})
"""OAuth's words for the statuses 503 and 500, which some providers send with another status."""

_MENDS: Final = {
    "invalid_client": "check client_id of the source, and how it shows that it is that client (client_auth)",
    "unauthorized_client": "this client may not sign in by this flow; ask the provider's administrator",
    "unsupported_grant_type": "the provider does not know this flow; check `flow` of the source",
    "invalid_scope": "check `scope` of the credential",
    "invalid_target": "check `resource` of the credential, and token_audience of the source",
    "invalid_grant": "what the source showed is expired, used up or for somebody else",
    "access_denied": "ask the provider's administrator for access",
}

_ERROR: Final = re.compile(r"[A-Za-z0-9_.:/-]{1,100}", re.ASCII)
_WORD: Final = re.compile(r"[^\s\"']+")
_HARMLESS: Final = re.compile(r"[A-Za-z,.:;()/_*-]{1,39}|[A-Z]{2,8}[0-9]{1,8}[:.,]?", re.ASCII)
"""What is no part of a secret in the provider's words: words, and numbers of errors such as AADSTS700016."""


def translated(error: Exception, server: Server, what: str, sent: Sequence[Secret] = ()) -> FetchError:
    """Say in our words why `what` failed, without what was `sent`."""
    if isinstance(error, FetchError):
        return error
    line = f"{shown(server.address)}: {what}: "
    if isinstance(error, ErrorAnswer):
        return _refused(error, line, sent)
    if isinstance(error, requests.RequestException) and not isinstance(error, requests.JSONDecodeError):
        return _unanswered(error, line, server)
    return _strange(line, server)


def _unanswered(error: requests.RequestException, line: str, server: Server) -> FetchError:
    match error:
        case Busy():
            return TransientFetchError(
                f"{line}asked too often, or not ready (status {error.status})", retry_after_s=error.retry_after_s
            )
        case Redirected():
            return TransientFetchError(
                f"{line}it sends us elsewhere ({error}), where no secret follows; check `{server.key}` of the source,"
                " and the network (a sign-in page before it?)"
            )
        case requests.HTTPError() if error.response is not None:
            return _status(error.response.status_code, line, server)
    return TransientFetchError(f"{shown(server.address)}: {unreached(error, server)}")


def shown(address: str) -> str:
    """Give an address without its query, which may hold a key."""
    return address.partition("?")[0]


def _refused(error: ErrorAnswer, line: str, sent: Sequence[Secret]) -> FetchError:
    code = error.error if isinstance(error.error, str) and _ERROR.fullmatch(error.error) else "an error"
    code = scrub(code, sent)
    description = error.description if isinstance(error.description, str) else ""
    # Whole first, then by words: of a secret with blanks in it the second would leave what looks like a word.
    whole = last_line(" ".join(description.split()).encode(), b"", [secret.reveal() for secret in sent])
    said = _WORD.sub(lambda word: word[0] if _HARMLESS.fullmatch(word[0]) else "***", whole)
    told = f"{line}{code}" + (f" ({said})" if said else "")
    if code in _UNAVAILABLE:
        return TransientFetchError(told)
    mend = _MENDS.get(code)
    return ProviderRefused(told + (f"; {mend}" if mend else ""), code)


def _status(status: int, line: str, server: Server) -> FetchError:
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return TransientFetchError(f"{line}the server fails (status {status})")
    if status == HTTPStatus.NOT_FOUND:
        return NotThere(f"{line}nothing is there (status 404); check `{server.key}` of the source")
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:  # asked again and again, it may lock the client out
        return PermanentFetchError(f"{line}refused without a reason (status {status}); {_MENDS['invalid_client']}")
    return _strange(line, server)


def _strange(line: str, server: Server) -> FetchError:
    return TransientFetchError(
        f"{line}the answer is no OAuth provider's; check `{server.key}` of the source (a proxy before it?)"
    )
