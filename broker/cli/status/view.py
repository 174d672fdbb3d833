"""What `broker status` says, as plain values: both the table and the plain text are drawn from these.

Pure: from the answer of `GET /v1/status` (`service/report.py`) to words. Nothing here knows of a terminal.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from broker.cli.output import printable, span

Document = Mapping[str, Any]

COLOURS: Final = {
    "fresh": "green",
    "empty": "bright_black",
    "stale": "yellow",
    "locked": "yellow",
    "expired": "red",
    "failing": "red",
    "needs-login": "magenta",
}
GLYPHS: Final = {
    "fresh": "●",
    "empty": "○",
    "stale": "◐",
    "locked": "◌",
    "expired": "✗",
    "failing": "✗",
    "needs-login": "▲",
}
MEANINGS: Final = {
    "fresh": "valid",
    "empty": "not fetched yet: it is when somebody asks",
    "stale": "still valid, but short or its refresh is failing",
    "locked": "run: broker unlock",
    "expired": "no longer valid; fetched when somebody asks",
    "failing": "no valid token, and the source is failing",
    "needs-login": "no valid token, and a person must act",
}
UNKNOWN_COLOUR: Final = "red"
UNKNOWN_GLYPH: Final = "?"

NO_CREDENTIALS: Final = "no credentials in the config; see: broker config show"

BAR_WIDTH: Final = 10
_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True, slots=True)
class Row:
    """One credential, ready to be shown; `notes` are what needs attention, one line each.

    `identity`: as whom it acts at AWS or Google, where that is known.
    """

    name: str
    source: str
    identity: str
    state: str
    refreshing: bool
    share_left: float | None
    left: str
    next_refresh: str
    served: int
    refreshes: int
    notes: tuple[str, ...]

    @property
    def colour(self) -> str:
        """The state's colour."""
        return COLOURS.get(self.state, UNKNOWN_COLOUR)

    @property
    def glyph(self) -> str:
        """The state's mark, for those who see no colour."""
        return GLYPHS.get(self.state, UNKNOWN_GLYPH)


def rows(document: Document, now: float) -> list[Row]:
    """Turn every credential into a row; `now` is the wall clock in epoch seconds."""
    return [row(credential, now) for credential in document["credentials"]]


def row(credential: Document, now: float) -> Row:
    """Turn one credential's status into a row."""
    return Row(
        name=printable(credential["name"]),
        source=printable(credential["source"]),
        identity=printable(_identity(credential["details"])),
        state=printable(credential["state"]),
        refreshing=bool(credential["refreshing"]),
        share_left=_share_left(credential),
        left=_left(credential),
        next_refresh=_until(credential["next_refresh_at"], now),
        served=int(credential["served"]),
        refreshes=int(credential["refreshes"]),
        notes=_notes(credential),
    )


def header(document: Document) -> list[str]:
    """Say which daemon this is, in a few words each."""
    daemon = document["daemon"]
    parts = [
        f"broker {daemon['version']}",
        f"pid {daemon['pid']}",
        f"up {span(daemon['uptime_s'])}",
        f"helper {daemon['helper']}",
        f"persist {daemon['persist']}",
    ]
    return [printable(part) for part in parts + ["LOCKED"] * bool(daemon["locked"])]


def socket(document: Document) -> str:
    """Say where it listens."""
    return printable(document["daemon"]["socket"])


def warnings(about: Document) -> tuple[str, ...]:
    """Write the warnings of the daemon or of one credential."""
    return tuple(printable(f"{warning['message']} ({warning['code']})") for warning in about["warnings"])


def attention(document: Document, rows: Sequence[Row]) -> list[tuple[str, str, str]]:
    """List what needs somebody's attention: about whom, in which colour, and what."""
    notes = [("broker", "yellow", warning) for warning in warnings(document["daemon"])]
    return notes + [(row.name, row.colour, note) for row in rows for note in row.notes]


def bar(share: float, width: int = BAR_WIDTH) -> str:
    """Draw a share (0 to 1) in eighths of a character; something left never looks like nothing."""
    eighths = round(min(1.0, max(0.0, share)) * width * 8)
    if share > 0:
        eighths = max(1, eighths)
    full, part = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[part] if part else "")).ljust(width)


def details(credential: Document, now: float) -> list[tuple[str, str]]:
    """List all that is known of one credential, by label."""
    this = row(credential, now)
    facts = [
        ("kind", credential["kind"]),
        ("source", this.source),
        ("state", f"{this.state}: {MEANINGS.get(this.state, 'unknown to this version')}"),
        ("refreshing", "yes, now" if this.refreshing else ""),
        ("fingerprint", credential["fingerprint"] or ""),
        ("left", this.left),
        ("expires at", credential["expires_at"] or ""),
        ("lifetime", span(math.ceil(credential["lifetime_s"])) if credential["lifetime_s"] else ""),
        ("last refresh", _ago(credential["last_refresh_at"], now)),
        ("next refresh", this.next_refresh),
        ("served", str(this.served)),
        ("refreshes", f"{this.refreshes} ({credential['failures']} failed)"),
        ("rejections", str(credential["rejections"])),
        *_told(credential["details"]),
    ]
    return [(printable(label), printable(value)) for label, value in facts if value]


def _told(details: Document) -> Iterator[tuple[str, str]]:
    """What the source tells; of a pool each member by a line of its own."""
    for label, value in details.items():
        if isinstance(value, list):
            yield from ((f"member {member['name']}", _member(member)) for member in value)
        else:
            yield str(label), str(value)


def _member(member: Document) -> str:
    rests = f"; rests for {span(member['rests_s'])}: {member['why']}" if member["why"] else ""
    return f"{member['state']}{rests}"


def _identity(facts: Document) -> str:
    aws = [str(facts[part]) for part in ("account_id", "role", "region") if facts.get(part)]
    return " ".join(aws) if "account_id" in facts else str(facts.get("email") or "")


def _share_left(credential: Document) -> float | None:
    left, lifetime = credential["expires_in_s"], credential["lifetime_s"]
    return left / lifetime if left is not None and lifetime else None


def _left(credential: Document) -> str:
    if credential["state"] in ("empty", "locked"):
        return ""
    left = credential["expires_in_s"]
    if left is None:
        return "no expiry" if credential["fingerprint"] else ""
    return "expired" if credential["state"] == "expired" else span(left)


def _until(moment: str | None, now: float) -> str:
    if moment is None:
        return ""
    left = _epoch(moment) - now
    return f"in {span(left)}" if left > 0 else "due"


def _ago(moment: str | None, now: float) -> str:
    return "" if moment is None else f"{moment} ({span(now - _epoch(moment))} ago)"


def _epoch(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def _notes(credential: Document) -> tuple[str, ...]:
    error = credential["last_error"]
    return (*([printable(_text(error))] if error else []), *warnings(credential))


def _text(error: object) -> str:
    return str(error["message"]) if isinstance(error, Mapping) and "message" in error else str(error)
