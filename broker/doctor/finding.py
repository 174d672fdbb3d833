"""What the doctor says: findings, and the report that they make up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final


class Severity(IntEnum):
    """How bad it is. A notice is advice, and as good as fine to whoever only asks whether all is well."""

    OK = 0
    NOTICE = 1
    WARNING = 2
    ERROR = 3

    def __str__(self) -> str:
        """Return the word for it."""
        return self.name.lower()


_EXIT: Final = {Severity.OK: 0, Severity.NOTICE: 0, Severity.WARNING: 1, Severity.ERROR: 2}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found. `code` stays the same from version to version; no text ever holds a secret.

    What is fine (`OK`) has neither `why` it matters nor what would `mend` it; everything else has both.
    """

    severity: Severity
    code: str
    what: str
    why: str = ""
    mend: str = ""


def fine(code: str, what: str) -> Finding:
    """Say in a few words what is as it should be."""
    return Finding(Severity.OK, code, what)


def notice(code: str, what: str, why: str, mend: str) -> Finding:
    """Give advice."""
    return Finding(Severity.NOTICE, code, what, why, mend)


def warning(code: str, what: str, why: str, mend: str) -> Finding:
    """Name what works yet, but should not stay."""
    return Finding(Severity.WARNING, code, what, why, mend)


def error(code: str, what: str, why: str, mend: str) -> Finding:
    """Name what does not work, or is not safe."""
    return Finding(Severity.ERROR, code, what, why, mend)


def parted(message: str, mend: str) -> tuple[str, str]:
    """Part an error's line into what happened and what mends it: our lines are written `WHAT; HOW`.

    `mend` is for one that does not say how.
    """
    what, _, how = message.partition("; ")
    return what, how.removeprefix("run: ") or mend


@dataclass(frozen=True, slots=True)
class Report:
    """All findings, with the area that each belongs to, in the areas' order."""

    findings: Sequence[tuple[str, Finding]]
    seconds: float

    @property
    def exit_code(self) -> int:
        """0: nothing worse than a notice; 1: a warning; 2: an error (as `broker status --check`)."""
        return _EXIT[max((found.severity for _, found in self.findings), default=Severity.OK)]

    @property
    def counts(self) -> dict[str, int]:
        """How many findings there are of each severity."""
        counted = Counter(found.severity for _, found in self.findings)
        return {str(severity): counted[severity] for severity in Severity}

    def as_json(self) -> dict[str, Any]:
        """Describe it for a program."""
        findings = [
            {
                "area": area,
                "severity": str(found.severity),
                "code": found.code,
                "what": found.what,
                "why": found.why,
                "mend": found.mend,
            }
            for area, found in self.findings
        ]
        summary = {"exit": self.exit_code, **self.counts, "seconds": round(self.seconds, 3)}
        return {"summary": summary, "findings": findings}
