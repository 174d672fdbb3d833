"""What a program, file or variable holds, read as a credential. Pure: bytes in, `Issued` or `BadAnswer` out.

The names looked for are those that programs use; AWS's process format is that of the AWS CLI's
`credential_process`. No message quotes what was read.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final, Literal

from broker.errors import FetchError
from broker.model import Issued, Kind
from broker.secret import Secret, flaw, flaw_of_text
from broker.sources import expiry

Format = Literal["auto", "text", "json"]

_TOKEN_FIELDS: Final = ("token", "access_token", "api_key", "id_token", "value", "status.token")
_SPAN_FIELDS: Final = ("expires_in",)
_MOMENT_FIELDS: Final = (
    "expires_at",
    "expiry",
    "expiration",
    "Expiration",
    "expiration_time",
    "status.expirationTimestamp",  # Kubernetes' ExecCredential, where the token is in `status.token`
)
_LONGEST_SPAN_S: Final = 1e8
"""A number in a field of the user's own choosing is a lifetime up to this (three years), and an epoch above."""

_PEM: Final = re.compile(r"-----BEGIN [A-Z ]{1,40}-----\r?\n[A-Za-z0-9+/=\r\n]+-----END [A-Z ]{1,40}-----\s*", re.ASCII)
_ACCOUNT_ID: Final = re.compile(r"[0-9]{12}", re.ASCII)

EXPIRED: Final = "the token expired already"
"""How an error begins that is only about that."""


class BadAnswer(FetchError):
    """What was read is no credential; whoever read it knows whether trying again makes sense."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How to read it; the fields are dotted paths into a JSON object. `served`: see `token`."""

    format: Format = "auto"
    token_field: str | None = None
    expires_field: str | None = None
    served: bool = True


def read(raw: bytes, shape: Shape, now: float) -> Issued:
    """Read a whole answer in the given shape; `now` is the wall clock in epoch seconds."""
    text = decode(raw)
    fields_wanted = shape.token_field is not None or shape.expires_field is not None
    if shape.format == "text" or (shape.format == "auto" and not fields_wanted and not text.lstrip().startswith("{")):
        return token(text, now, served=shape.served)
    answer = json_object(text)
    if shape.token_field is None and "AccessKeyId" in answer:
        return _aws_session(answer, now)
    if not shape.served and not fields_wanted and all(dig(answer, name) is None for name in _TOKEN_FIELDS):
        return token(text, now, served=False)  # the object itself is what one signs in with: a service account's key
    expires_at = _expiry_in(answer, shape.expires_field, now)
    return token(_token_in(answer, shape.token_field), now, expires_at, served=shape.served)


def token(text: str, now: float, expires_at: float | None = None, *, served: bool = True) -> Issued:
    """Make the token a credential, if Claude Code would take it; a JWT's `exp` counts where nothing else says.

    Where it is not to be `served` but to sign in with, any text will do, and a JSON object or a PEM key over many lines.
    """
    text = text if served else in_one_line(text)
    problem = flaw(text) if served else flaw_of_text(text)
    if problem is not None:
        raise BadAnswer(f"the {'token' if served else 'secret'} {problem}")
    return Issued.token(text, _still_ahead(expiry.of_jwt(text) if expires_at is None else expires_at, now))


def decode(raw: bytes) -> str:
    """Decode a text and remove one newline at its end."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise BadAnswer(f"not text: byte {error.start + 1} is not UTF-8") from None
    return text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text


def json_object(text: str) -> dict[str, Any]:
    """Parse a JSON object, however hostile."""
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        raise BadAnswer("not valid JSON (perhaps cut off)") from None
    if not isinstance(answer, dict):
        raise BadAnswer("JSON, but no object")
    return answer


def in_one_line(text: str) -> str:
    """Write a JSON object or a PEM key without line ends, so that it is as good a secret as any; give others as they are."""
    if _PEM.fullmatch(text):
        return " ".join(text.split())
    if "\n" not in text or not text.lstrip().startswith("{"):
        return text
    try:
        return json.dumps(json_object(text), separators=(",", ":"))
    except BadAnswer:
        return text


def text_at(answer: dict[str, Any], path: str) -> str:
    """Get the text at a dotted path."""
    value = dig(answer, path)
    if value is None:
        raise BadAnswer(f"the JSON has no field {path}")
    if not isinstance(value, str):
        raise BadAnswer(f"the JSON's field {path} is not text")
    return value


def dig(answer: object, path: str) -> object:
    """Follow a dotted path through objects and, by number, lists; None where it leads nowhere."""
    for step in path.split("."):
        if isinstance(answer, dict):
            answer = answer.get(step)
        elif isinstance(answer, list) and re.fullmatch("[0-9]{1,6}", step) and int(step) < len(answer):
            answer = answer[int(step)]
        else:
            return None
    return answer


def is_path(path: str) -> bool:
    """Whether this can be a dotted path."""
    return all(path.split("."))


def _still_ahead(expires_at: float | None, now: float) -> float | None:
    if expires_at is not None and expires_at <= now:
        raise BadAnswer(f"{EXPIRED}, {now - expires_at:.0f} s ago")
    return expires_at


def _token_in(answer: dict[str, Any], field: str | None) -> str:
    if field is not None:
        return text_at(answer, field)
    for name in _TOKEN_FIELDS:
        if dig(answer, name) is not None:
            return text_at(answer, name)
    raise BadAnswer(f"the JSON has none of {', '.join(_TOKEN_FIELDS)}; set token_field")


def _expiry_in(answer: dict[str, Any], field: str | None, now: float) -> float | None:
    """Find the expiry; where several are given, the earliest, so that a wrong one can only shorten."""
    if field is not None:
        return _own_expiry(answer, field, now)
    ends = [_end(answer, name, now) for name in _SPAN_FIELDS + _MOMENT_FIELDS]
    return min((end for end in ends if end is not None), default=None)


def _end(answer: dict[str, Any], name: str, now: float) -> float | None:
    value = dig(answer, name)
    if value is None:
        return None
    try:
        return expiry.span(value, now) if name in _SPAN_FIELDS else expiry.moment(value)
    except expiry.BadTime as error:
        raise BadAnswer(f"the JSON's field {name} {error}") from None


def _own_expiry(answer: dict[str, Any], field: str, now: float) -> float | None:
    value = dig(answer, field)
    if value is None:
        raise BadAnswer(f"the JSON has no field {field}")
    try:
        end = expiry.moment(value)
    except expiry.BadTime as error:
        raise BadAnswer(f"the JSON's field {field} {error}") from None
    return now + end if end is not None and _is_number(value) and end <= _LONGEST_SPAN_S else end


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) or (isinstance(value, str) and "-" not in value)


def _aws_session(answer: dict[str, Any], now: float) -> Issued:
    if type(answer.get("Version")) is not int or answer["Version"] != 1:
        raise BadAnswer("AWS's process format, but its Version is not 1")
    parts = {
        "access_key_id": text_at(answer, "AccessKeyId"),
        "secret_access_key": text_at(answer, "SecretAccessKey"),
    }
    if answer.get("SessionToken") is not None:
        parts["session_token"] = text_at(answer, "SessionToken")
    for name, text in parts.items():
        if (problem := flaw(text)) is not None:
            raise BadAnswer(f"{name} {problem}")
    account = answer.get("AccountId")
    known_account = isinstance(account, str) and _ACCOUNT_ID.fullmatch(account)
    return Issued(
        parts={name: Secret(text) for name, text in parts.items()},
        expires_at=_still_ahead(_end(answer, "Expiration", now), now),
        kind=Kind.AWS_SESSION,
        details={"account_id": str(account)} if known_account else {},
    )
