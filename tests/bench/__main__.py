"""All figures in one table: `python -m tests.bench [SUBJECT...]`, from an environment that the project is installed in.

Every subject compares both sides in one run, in turns. Exits 0 when all that was asked is reached, 1 when not, and 69
when something to compare with is missing. Leave the machine alone meanwhile.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from tests.bench.figure import Figure, show
from tests.bench.place import MissingProgram

SUBJECTS: Final = (
    "helper",
    "storm",
    "throughput",
    "memory",
    "many",
    "startup",
    "guard",
    "vault",
    "vault-paused",
    "aws",
    "endpoints",
    "litellm",
)


def main(arguments: Sequence[str]) -> int:
    """Measure the named subjects, or all; return the exit code."""
    if unknown := set(arguments) - set(SUBJECTS):
        print(f"unknown: {', '.join(sorted(unknown))}; subjects are: {', '.join(SUBJECTS)}", file=sys.stderr)
        return os.EX_USAGE
    found: list[Figure] = []
    for subject in arguments or SUBJECTS:
        print(f"measuring {subject} ...", file=sys.stderr)
        try:
            found += import_module(f"tests.bench.{subject.replace('-', '_')}").figures()
        except MissingProgram as missing:
            print(f"{subject}: {missing}", file=sys.stderr)
            return os.EX_UNAVAILABLE
    return show(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
