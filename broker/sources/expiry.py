"""When a token dies, as programs and JWTs say it. Pure; every time is epoch seconds."""

from __future__ import annotations

import base64
import binascii
import json
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

LATEST: Final = 253_402_300_799.0
"""The end of the year 9999: later times cannot be written as dates."""

_MILLISECONDS_FROM: Final = 1e11
"""Epoch numbers above this are milliseconds: as seconds they would lie beyond the year 5138."""

_NUMBER: Final = re.compile(r"[0-9]{1,16}(?:\.[0-9]{1,9})?", re.ASCII)
_RFC3339: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.\d{1,12})?(?:[Zz]|([+-])(\d\d):?(\d\d))", re.ASCII
)
_JWT: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]*", re.ASCII)


class BadTime(ValueError):
    """Not a time; the message does not quote it."""


def moment(value: object) -> float | None:
    """Read a point in time: RFC 3339, or epoch seconds or milliseconds as a number or text.

    None where it is Go's zero time, which its programs print for "never". Raises `BadTime`.
    """
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        return _rfc3339(value)
    number = _number(value)
    return _in_range(number / 1000 if number > _MILLISECONDS_FROM else number)


def span(value: object, now: float) -> float:
    """Read a lifetime in seconds, a number or text, as the point in time at which it is over. Raises `BadTime`."""
    return _in_range(now + _number(value))


def of_jwt(token: str) -> float | None:
    """Read the `exp` of a JWT (RFC 7519, 4.1.4) without verifying anything; None where it is none or has none."""
    try:
        return _in_range(_number(claims(token).get("exp")))
    except BadTime:
        return None


def claims(token: str) -> dict[str, Any]:
    """Read what a JWT says without verifying anything; nothing where it is none."""
    match = _JWT.fullmatch(token)
    return _segment(match[2]) if match is not None and "alg" in _segment(match[1]) else {}


def _number(value: object) -> float:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value)
    # NaN fails the comparison, and so does an integer too large for a float
    if isinstance(value, int | float) and not isinstance(value, bool) and -LATEST <= value <= LATEST * 1000:
        return float(value)
    raise BadTime("is no time")


def _in_range(seconds: float) -> float:
    if seconds > LATEST:
        raise BadTime("is beyond the year 9999")
    return seconds


def _rfc3339(text: str) -> float | None:
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise BadTime("is no time in RFC 3339 with its zone")
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    if year == 1:
        return None
    offset = timedelta(hours=int(match[8] or 0), minutes=int(match[9] or 0))
    try:
        zone = timezone(-offset if match[7] == "-" else offset) if offset else UTC
        return datetime(year, month, day, hour, minute, min(second, 59), tzinfo=zone).timestamp()
    except (ValueError, OverflowError):
        raise BadTime("is no time in RFC 3339") from None


def _segment(text: str) -> dict[str, Any]:
    try:
        content = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
