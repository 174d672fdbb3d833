"""What a person allowed a project to say, as the guard heeds it: each change is told, whatever program made it.

`broker allow` and `deny` write the file by themselves, so that they need no daemon; who wrote it is not known here. Told
is what the daemon goes by, from the moment that it does: what was allowed and taken back between two looks never counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from broker.engine.destination import Pins

ALLOWED: Final = "project-allowed"
DENIED: Final = "project-denied"

SHOWN_MAX: Final = 32
"""Files named of one change; a program that writes thousands into the file would push all else out of the trail."""

Tell = Callable[[str, str], None]
"""Told what happened (`ALLOWED`, `DENIED`) and to which file."""


class Allowed:
    """The pins that were read last."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._pins: Pins | None = None

    def heed(self, pins: Pins) -> None:
        """Take these for what is allowed from now on, and tell what is new."""
        before, self._pins = self._pins, pins
        if pins is before:
            return
        since = "before this start: " if before is None else ""
        known = before or frozenset()
        added = {path for path, _ in pins - known}
        self._say(ALLOWED, added, since)
        self._say(DENIED, {path for path, _ in known - pins} - added, since)

    def _say(self, what: str, paths: Iterable[str], since: str) -> None:
        first, rest = (named := sorted(paths))[:SHOWN_MAX], named[SHOWN_MAX:]
        for path in first:
            self._tell(what, f"{since}{path}")
        if rest:
            self._tell(what, f"{since}{len(rest)} files more")
