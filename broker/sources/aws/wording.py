"""What AWS said, fit to be shown: ARNs stay readable, and nothing that may be secret is in it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from broker.secret import Secret, scrub
from broker.sources.complaint import last_line

_SHOWN: Final = re.compile(
    r"\barn:aws[a-z-]{0,12}:[a-z0-9-]{1,40}:[a-z0-9-]{0,30}:[0-9]{0,12}:[\w+=,.@/:*-]{0,300}\w"
    r"|(?<= to perform: )[a-z0-9-]{1,40}:[A-Za-z]{1,60}\b",
    re.ASCII,
)
"""ARNs, and the names of actions."""
_KEPT: Final = re.compile(r"<kept([0-9]{1,3})>", re.ASCII)
_UNAUTHORIZED: Final = re.compile(
    r"User: (?P<caller>arn:\S+) is not authorized to perform: (?P<action>[\w:]{1,100})(?: on resource: (?P<resource>\S+))?"
)
_SHOWN_MAX: Final = 10


def said(message: str, secrets: Iterable[Secret]) -> str:
    """Make one short line of a message. STS quotes encoded policies and, of tokens, whatever was wrong with them."""
    known = sorted(secrets, key=lambda secret: len(secret.reveal()), reverse=True)
    whole = scrub(" ".join(message.split()), known)
    shown = _SHOWN.findall(whole)[:_SHOWN_MAX]
    for number, text in enumerate(shown):
        whole = whole.replace(text, f"<kept{number}>", 1)
    line = last_line(whole.encode(errors="replace"), b"", [secret.reveal() for secret in known])
    return _KEPT.sub(lambda kept: shown[int(kept[1])] if int(kept[1]) < len(shown) else "***", line).rstrip(". ")


@dataclass(frozen=True, slots=True)
class Unauthorized:
    """Who may not do what, as AWS words it."""

    caller: str
    action: str
    resource: str | None

    @classmethod
    def of(cls, line: str) -> Unauthorized | None:
        """Read it from a line of `said`; None where it says nothing of the kind."""
        found = _UNAUTHORIZED.search(line)
        if found is None:
            return None
        resource = found["resource"]
        return cls(found["caller"], found["action"], resource.rstrip(".,;") if resource else None)
