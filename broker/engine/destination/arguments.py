"""What Claude Code's own command line says about its settings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

_SETTINGS: Final = "--settings"
_SOURCES: Final = "--setting-sources"
_IGNORE: Final = "--ignore-persisted-trust"
_PRINT: Final = frozenset({"-p", "--print"})
_STEERING: Final = {_SETTINGS, _SOURCES, _IGNORE, *_PRINT}
_NO_VALUE: Final = re.compile(
    r"""
    -[cdhprvw]
    | --(?:allow-dangerously-skip-permissions|ax-screen-reader|background|bare|bg|brief|chrome|cloud|continue
        |dangerously-skip-permissions|debug|desktop|disable-slash-commands|exclude-dynamic-system-prompt-sections
        |fork-session|forward-subagent-text|from-pr|ide|ignore-persisted-trust|include-hook-events
        |include-partial-messages|no-chrome|no-session-persistence|print|prompt-suggestions|remote-control
        |replay-user-messages|restricted|resume|safe-mode|strict-mcp-config|teleport|tmux|verbose|worktree)
    """,
    re.VERBOSE,
)
"""Options that never take the next argument for their value if that begins with a dash (`--help` of both versions)."""

_BLANK: Final = " \t\r\n\N{BOM}"
"""What JavaScript trims off before it looks for a brace."""


@dataclass(frozen=True, slots=True)
class Flags:
    """The arguments that steer.

    `settings`: what `--settings` was given, JSON text (`is_text`) or the path of a file relative to the working folder.
    `sources`: what `--setting-sources` was given. Both None where not given.
    `ignores_projects`: it was told by argument to take from a project nothing that steers, and runs in print mode,
    where nobody can be asked to trust the project after all. The variable of the same meaning is no proof: an older
    version does not know it.
    `doubtful`: one of these may really be the value of another option, which takes up whatever comes next: a prompt
    from outside, say. Then `sources` and `ignores_projects` are as if not given, and `settings` may not hold.
    """

    settings: str | None = None
    sources: frozenset[str] | None = None
    ignores_projects: bool = False
    doubtful: bool = False

    @property
    def is_text(self) -> bool:
        """Whether `settings` is JSON text and not a path."""
        return self.settings is not None and self.settings.strip(_BLANK).startswith("{")

    def names(self, source: str) -> bool:
        """Whether settings of this source (`user`, `project`, `local`) are taken up."""
        return self.sources is None or source in self.sources


@lru_cache(maxsize=64)
def flags(arguments: tuple[str, ...]) -> Flags:
    """Read Claude Code's command line (argv, with the program itself)."""
    found = list(_options(arguments))
    given = {name: value for name, value, _sure in found}  # of an option that is given twice the last counts
    if not all(sure for _name, _value, sure in found):
        return Flags(given.get(_SETTINGS), doubtful=True)
    named = given.get(_SOURCES)
    sources = None if named is None else frozenset(part.strip(_BLANK) for part in named.split(","))
    return Flags(given.get(_SETTINGS), sources, _IGNORE in given and not _PRINT.isdisjoint(given))


def _options(arguments: Sequence[str]) -> Iterator[tuple[str, str, bool]]:
    """Find the options that steer, before a `--`: name, value, and whether each certainly is an option."""
    for at in range(1, len(arguments)):
        if arguments[at] == "--":
            return
        name, equals, value = arguments[at].partition("=")
        if name in _STEERING:
            before = arguments[at - 1]
            sure = at == 1 or not before.startswith("-") or "=" in before or bool(_NO_VALUE.fullmatch(before))
            following = arguments[at + 1] if at + 1 < len(arguments) else ""
            yield name, value if equals else following, sure
