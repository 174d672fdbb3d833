"""A daemon of a measurement's own, and the programs that it is compared with."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from tests.real.installed import BROKER, HELPER, Daemon, Place, a_place, running

NEEDED: Final = (BROKER, HELPER)


class MissingProgram(Exception):
    """Something to be measured is not installed; the message names it."""


@contextmanager
def configured(toml: str) -> Iterator[Place]:
    """Make a private place with this config, and no daemon yet."""
    for needed in NEEDED:
        if not needed.exists():
            raise MissingProgram(f"{needed} is missing: install the project into this Python's environment")
    with a_place() as place:
        place.configure(toml)
        yield place


@contextmanager
def daemon(toml: str, env: Mapping[str, str] | None = None) -> Iterator[Place]:
    """Run the installed daemon with this config for as long as the block lasts."""
    with configured(toml) as place, running(place, env=env):
        yield place


@contextmanager
def daemon_process(toml: str, env: Mapping[str, str] | None = None) -> Iterator[Daemon]:
    """Run it where its process is of interest too."""
    with configured(toml) as place, running(place, env=env) as started:
        yield started


def program(name: str) -> str:
    """Return the full path of a program. Raises `MissingProgram`."""
    found = shutil.which(name)
    if found is None:
        raise MissingProgram(f"the program {name} is missing: `python3 -m tests` installs it, or says how")
    return found
