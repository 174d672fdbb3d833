"""One line of the audit trail, and the chain that binds it to the line before: bytes in, facts out, no I/O.

A line is a JSON object in ASCII that ends with its MAC. The MAC is HMAC-SHA256 over a fixed prefix, the MAC of the
line before and this line's bytes up to its own MAC, exactly as they stand in the file: there is no second way to
write a line that would have the same MAC.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final

VERSION: Final = 1
LINE_MAX: Final = 16 * 1024
"""Longest line, in bytes: every text in it is bounded, so that a longer one is none of ours."""

TEXT_MAX: Final = 300
"""Longest text kept of what comes from outside (a program's name, an error), in characters."""

GENESIS: Final = "0" * 64
"""What stands for the MAC before the first line."""

SEQ_MAX: Final = 1 << 53
"""Every JSON reader can count so far."""

_PREFIX: Final = b"claude-credential-broker audit line 1\0"
_KEY_ID_DIGITS: Final = 8
_HEAD: Final = b'{"seq":'
_MAC_MARK: Final = b',"mac":"'
_MAC: Final = re.compile(r"[0-9a-f]{64}")
_TAIL: Final = len(_MAC_MARK) + len(GENESIS) + len(b'"}')

Facts = Mapping[str, str | int | None]
"""What a line says, by name; None is left out."""


class Malformed(ValueError):
    """These bytes are no line of an audit trail."""


@dataclass(frozen=True)
class Key:
    """The secret of a chain. `id` names it without showing it; `kept`: it outlives the daemon's run."""

    secret: bytes
    kept: bool

    @cached_property
    def id(self) -> str:
        """The first digits of a MAC over a fixed text: every line says which key it was written under."""
        return hmac.new(self.secret, b"claude-credential-broker audit key", "sha256").hexdigest()[:_KEY_ID_DIGITS]

    def __repr__(self) -> str:
        return f"Key({self.id})"


@dataclass(frozen=True, slots=True)
class Link:
    """Where a chain stands: the number of its last line, that line's MAC, and the id of the key that made it.

    `oldest` is the number of the first line that is still kept, as far as the writer knows.
    """

    seq: int = 0
    mac: str = GENESIS
    key: str = ""
    oldest: int = field(default=1, compare=False)


@dataclass(frozen=True, slots=True)
class Line:
    """One line as it stands in the file. Nothing about it is proven before `is_proven`."""

    seq: int
    mac: str
    key: str
    body: bytes
    facts: Mapping[str, Any]

    @property
    def event(self) -> str:
        """What happened."""
        return str(self.facts.get("event"))

    @property
    def link(self) -> Link:
        """Where the chain stands after this line."""
        return Link(self.seq, self.mac, self.key)

    def is_proven(self, key: Key, mac_before: str) -> bool:
        """Whether who wrote this line, after a line of that MAC, had `key`."""
        return hmac.compare_digest(_mac(key, mac_before, self.body), self.mac)


def seal(key: Key, seq: int, mac_before: str, at: float, facts: Facts) -> tuple[bytes, Link]:
    """Write the line number `seq`, its end of line included, and tell where the chain stands then.

    `at` is epoch seconds. Texts are bounded, and what is not printable is replaced: they come from outside.
    """
    said = {name: _clean(value) for name, value in facts.items() if value is not None}
    whole = {"seq": seq, "at": _timestamp(at), "key": key.id, **said}
    body = json.dumps(whole, separators=(",", ":")).encode()[:-1]
    mac = _mac(key, mac_before, body)
    return body + _MAC_MARK + mac.encode() + b'"}\n', Link(seq, mac, key.id)


def parse(raw: bytes) -> Line:
    """Read one line, without its end of line. Raises `Malformed`."""
    body, tail = raw[:-_TAIL], raw[-_TAIL:]
    if len(raw) > LINE_MAX or not (raw.startswith(_HEAD) and tail.startswith(_MAC_MARK)):
        raise Malformed
    try:
        facts = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Malformed from error
    if not isinstance(facts, dict):
        raise Malformed
    seq, key, mac = facts.get("seq"), facts.get("key"), facts.get("mac")
    if type(seq) is not int or not 0 < seq <= SEQ_MAX or not isinstance(key, str) or not isinstance(mac, str):
        raise Malformed
    if not _MAC.fullmatch(mac) or mac.encode() != tail[len(_MAC_MARK) : -2]:
        raise Malformed
    return Line(seq, mac, key, body, facts)


def _mac(key: Key, mac_before: str, body: bytes) -> str:
    # What stands before may be anything that JSON can hold, half a surrogate pair too.
    before = mac_before.encode(errors="surrogatepass")
    return hmac.new(key.secret, _PREFIX + before + b"\0" + body, "sha256").hexdigest()


def _clean(value: str | int) -> str | int:
    if not isinstance(value, str):
        return value
    shown = "".join(char if char.isprintable() else "?" for char in value[: TEXT_MAX + 1])
    return shown if len(shown) <= TEXT_MAX else shown[: TEXT_MAX - 3] + "..."


def _timestamp(epoch_s: float) -> str:
    try:
        moment = datetime.fromtimestamp(epoch_s, UTC)
    except (OverflowError, ValueError, OSError):  # the machine's clock is absurd; the line is worth more than its time
        moment = datetime.fromtimestamp(0, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
