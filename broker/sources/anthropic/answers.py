"""What the token endpoint answers: a token and its end, or why not, in our words.

Errors are OAuth's (`{"error": "invalid_grant", "error_description"}`, RFC 6749) or the API's own
(`{"type": "error", "error": {"type", "message"}}`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from broker.errors import FetchError, PermanentFetchError, TransientFetchError
from broker.model import TOKEN, Issued
from broker.secret import Secret, flaw
from broker.sources import expiry
from broker.sources.anthropic.settings import AnthropicSourceSettings
from broker.sources.web.calls import Reply
from broker.sources.web.said import shown

_CONSOLE: Final = "the Console's page on workload identity lists each try"


def issued(reply: Reply, *, began: float, details: Mapping[str, str]) -> Issued:
    """Read the token. `began`: when it was asked for, in epoch seconds. Raises `TransientFetchError`."""
    token, expires_in = reply.fields.get("access_token"), reply.fields.get("expires_in")
    if not isinstance(token, str) or not token:
        raise TransientFetchError("the answer holds no token; check `base_url` of the source")
    if (problem := flaw(token)) is not None:
        raise TransientFetchError(f"the token in the answer {problem}")
    try:
        return Issued({TOKEN: Secret(token)}, expiry.span(expires_in, began), details=details)
    except expiry.BadTime:
        raise TransientFetchError("the answer does not say how long its token lives") from None


def refusal(reply: Reply, settings: AnthropicSourceSettings, assertion: Secret, renewal: str) -> FetchError:
    """Say why there is no token. `renewal`: who makes the next assertion."""
    kind, message = _said(reply.fields)
    said = shown(f"{kind}: {message}" if message else kind, [assertion], _known(settings))
    quoted = f" ({said})" if said else ""
    if reply.status == HTTPStatus.BAD_REQUEST:
        why = f"expired, used before, or not what the rule expects; {renewal}; {_CONSOLE}"
        return PermanentFetchError(
            f"{settings.base_url}: exchange the assertion: the assertion is not taken{quoted}: {why}"
        )
    failure, words = _by_status(reply.status, quoted, settings)
    return failure(f"{settings.base_url}: exchange the assertion: {words}")


def _by_status(status: int, said: str, settings: AnthropicSourceSettings) -> tuple[type[FetchError], str]:
    match status:
        case 401:
            workspace = "" if settings.workspace_id else ", or set workspace_id if it covers several workspaces"
            words = f"federation rule {settings.federation_rule_id} does not take this assertion{said}; compare its issuer, subject and audience{workspace}; {_CONSOLE}"
            return PermanentFetchError, words
        case 403:
            words = f"not allowed{said}; check service_account_id and workspace_id of the source; {_CONSOLE}"
            return PermanentFetchError, words
        case 429:
            return TransientFetchError, f"asked too often{said}"
        case _ if status < 400 or status in {404, 405}:  # noqa: PLR2004  # HTTP's own
            words = f"no token endpoint answers there (status {status}); check `base_url` of the source"
            return PermanentFetchError, words
    return TransientFetchError, f"the server fails (status {status}){said}"


def _said(body: Mapping[str, Any]) -> Sequence[str]:
    """Find the error's type and message, in either form."""
    match body.get("error"):
        case str(kind):
            found = (kind, body.get("error_description"))
        case {"type": str(kind), **rest}:
            found = (kind, rest.get("message"))
        case _:
            found = ("", None)
    return [text if isinstance(text, str) else "" for text in found]


def _known(settings: AnthropicSourceSettings) -> set[str]:
    ids = (settings.organization_id, settings.federation_rule_id, settings.service_account_id, settings.workspace_id)
    return {text for text in ids if text}
