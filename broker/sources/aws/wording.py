"""What AWS said, fit to be shown: ARNs stay readable, and nothing that may be secret is in it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from broker.secret import Secret, scrub
from broker.sources.complaint import last_line

_ARN: Final = re.compile(
    r"\barn:aws[a-z-]{0,12}:[a-z0-9-]{1,40}:[a-z0-9-]{0,30}:[0-9]{0,12}:[\w+=,.@/:*-]{0,300}\w", re.ASCII
)
_KEPT: Final = re.compile(r"<arn([0-9]{1,3})>", re.ASCII)
_UNAUTHORIZED: Final = re.compile(
    r"User: (?P<caller>arn:\S+) is not authorized to perform: (?P<action>[\w:]{1,100})(?: on resource: (?P<resource>\S+))?"
)
_ARNS_MAX: Final = 10


def said(text: str, secrets: Iterable[Secret]) -> str:
    """Make one short line of a message. STS quotes encoded policies and, of tokens, whatever was wrong with them."""
    known = sorted(secrets, key=lambda secret: len(secret.reveal()), reverse=True)
    whole = scrub(" ".join(text.split()), known)
    arns = _ARN.findall(whole)[:_ARNS_MAX]
    for number, arn in enumerate(arns):
        whole = whole.replace(arn, f"<arn{number}>", 1)
    line = last_line(whole.encode(errors="replace"), b"", [secret.reveal() for secret in known])
    return _KEPT.sub(lambda kept: arns[int(kept[1])] if int(kept[1]) < len(arns) else "***", line).rstrip(". ")


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
