"""What LiteLLM answers when a key is made: the key and its end, or why not, in our words.

Read off LiteLLM 1.106 (`/key/generate`): errors are `{"error": {"message", "type", "param", "code"}}`, of malformed
input FastAPI's `{"detail": [...]}`, and a plain "Internal Server Error" where it has no database.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from broker.errors import FetchError, PermanentFetchError, TransientFetchError
from broker.model import Issued
from broker.secret import Secret, flaw
from broker.sources import expiry
from broker.sources.web.calls import Reply
from broker.sources.web.said import shown

_NO_DATABASE: Final = (
    "this LiteLLM has no database, so it makes no keys; its administrator sets database_url, or serve a fixed key by"
    " another source"
)


def issued(reply: Reply, *, began: float, duration_s: float, alias: str) -> Issued:
    """Read the key. `began`: when it was asked for, in epoch seconds. Raises `TransientFetchError`."""
    key = reply.fields.get("key")
    if not isinstance(key, str) or not key:
        raise TransientFetchError("the answer holds no key; is a LiteLLM there? check `base_url` of the source")
    if (problem := flaw(key)) is not None:
        raise TransientFetchError(f"the key in the answer {problem}")
    lifetime_s = min(duration_s, _lifetime_s(reply))
    return Issued({"token": Secret(key)}, began + lifetime_s, details={"key_alias": alias})


def refusal(reply: Reply, what: str, sent: Iterable[Secret], wish: Mapping[str, Any]) -> FetchError:
    """Say why LiteLLM did not do `what` as the wish was; `what` names the server too."""
    said = shown(_message(reply.fields), sent, _words(wish))
    if "No connected db" in said or "DB not connected" in said:
        return PermanentFetchError(f"{what}: {_NO_DATABASE}")
    failure, words = _by_status(reply, said)
    return failure(f"{what}: {words}")


def _by_status(reply: Reply, said: str) -> tuple[type[FetchError], str]:
    match reply.status:
        case 401:  # what it says of a refused key, it says with pieces of that key
            return PermanentFetchError, "the master key is refused (status 401); mend `master_key` of the source"
        case 403:
            words = f"not allowed ({said or 'status 403'}); `master_key` of the source must be an administrator's"
            return PermanentFetchError, words
        case 400 | 422:
            return PermanentFetchError, f"{said or 'refused as malformed'}; mend the credential"
        case status if status < 400 or status in {404, 405}:  # noqa: PLR2004  # HTTP's own
            words = f"no LiteLLM answers there (status {status}); check `base_url` of the source (a proxy before it?)"
            return PermanentFetchError, words
        case 429:
            return TransientFetchError, "asked too often (status 429)"
        case status:
            hint = "; without a database it makes no keys" if reply.body is None else ""
            return TransientFetchError, f"{said or 'the server fails'} (status {status}){hint}"


def _lifetime_s(reply: Reply) -> float:
    """How long the key lives by the server's own clock, which need not agree with ours; inf where it does not say."""
    end = reply.fields.get("expires")
    if reply.date is None or not isinstance(end, str):
        return float("inf")
    try:
        moment = expiry.moment(end)
    except expiry.BadTime:
        try:
            moment = expiry.moment(f"{end}Z")  # older ones leave the zone out, and mean UTC
        except expiry.BadTime:
            return float("inf")
    return float("inf") if moment is None else moment - reply.date


def _words(wish: Mapping[str, Any]) -> set[str]:
    """List what we asked for and may be quoted: a model's name, a team's."""
    return {
        text
        for value in wish.values()
        for text in (value if isinstance(value, list) else [value])
        if isinstance(text, str)
    }


def _message(body: Any) -> str:  # noqa: ANN401  # JSON
    """Find the text in the nests that FastAPI and LiteLLM make."""
    match body:
        case str():
            return body
        case {"error": inner} | {"message": inner} | {"detail": inner}:
            return _message(inner)
        case [{"msg": str(message), "loc": [*_, place]}, *_]:
            return f"{place}: {message}"
    return ""
