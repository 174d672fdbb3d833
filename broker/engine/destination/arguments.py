"""What Claude Code's own command line says about its settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Flags:
    """The arguments that steer.

    `settings`: what `--settings` was given: JSON text or the path of a file (relative to the working folder), see
    `is_text`; `sources`: what `--setting-sources` was given, None where it was not; `ignores_projects`: it was told
    to take nothing from a project that steers (by argument; versions that do not know the variable of the same
    meaning are not told by it, so that one is no proof).
    """

    settings: str | None = None
    sources: frozenset[str] | None = None
    ignores_projects: bool = False

    @property
    def is_text(self) -> bool:
        """Whether `settings` is JSON text and not a path."""
        return self.settings is not None and self.settings.strip().startswith("{")

    def names(self, source: str) -> bool:
        """Whether settings of this source (`user`, `project`, `local`) are taken up."""
        return self.sources is None or source in self.sources


def flags(arguments: Sequence[str]) -> Flags:
    """Read Claude Code's command line (argv, with the program itself)."""
    settings = _last(arguments, "--settings")
    sources = _last(arguments, "--setting-sources")
    named = None if sources is None else frozenset(part.strip() for part in sources.split(",") if part.strip())
    return Flags(settings, named, "--ignore-persisted-trust" in arguments[1:])


def _last(arguments: Sequence[str], name: str) -> str | None:
    """Return the value of the last `name VALUE` or `name=VALUE` before a `--`."""
    value = None
    for at, argument in enumerate(arguments):
        if argument == "--":
            break
        if argument.startswith(f"{name}="):
            value = argument.removeprefix(f"{name}=")
        elif argument == name and at + 1 < len(arguments):
            value = arguments[at + 1]
    return value
