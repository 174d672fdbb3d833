"""The programs that the tests on real things need from Debian. Standard library only."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Final

PACKAGES: Final = {
    "dbus": "dbus-run-session",
    "gcc": "gcc",
    "gnome-keyring": "gnome-keyring-daemon",
    "libsecret-tools": "secret-tool",
    "musl-tools": "musl-gcc",
    "postgresql": "pg_lsclusters",
    "systemd": "systemctl",
    "valgrind": "valgrind",
}
"""Each package by a program of its that shows whether it is there."""

WITH_GCC: Final = "libc6-dev"
"""What gcc needs to link, and only recommends."""


CREATE_CLUSTER: Final = Path("/etc/postgresql-common/createcluster.conf")
_NONE: Final = "create_main_cluster = false"


class MissingPart(Exception):
    """Something is not there and cannot be installed from here; the message says what a person can do."""


def prepare() -> None:
    """Install what is missing. Raises `MissingPart` with the packages' names where that takes a person."""
    absent = [package for package, program in PACKAGES.items() if shutil.which(program) is None]
    if "gcc" in absent:
        absent.append(WITH_GCC)
    if not absent:
        return
    if not can_install():
        raise MissingPart(f"some tests need more programs; on Debian, as root: apt-get install {' '.join(absent)}")
    install(absent)


def can_install() -> bool:
    """Whether we are root on a Debian system."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(packages: Iterable[str]) -> None:
    """Install Debian packages without asking anything, and without a database server that nobody asked for."""
    wanted = list(packages)
    _apt_get("update")
    if "postgresql" in wanted:
        _install("postgresql-common")  # brings the file that says whether the rest makes a cluster
    with no_cluster() if "postgresql" in wanted else nullcontext():
        _install(*wanted)


@contextmanager
def no_cluster() -> Iterator[None]:
    """Have PostgreSQL's packages make, and start, no cluster of their own meanwhile; the tests make theirs."""
    before = CREATE_CLUSTER.read_text()
    CREATE_CLUSTER.write_text(
        f"{before}\n# for the moment of an installation, by the tests of claude-credential-broker\n{_NONE}\n"
    )
    try:
        yield
    finally:
        CREATE_CLUSTER.write_text(before)


def _install(*packages: str) -> None:
    _apt_get("install", "--yes", "--no-install-recommends", *packages)


def _apt_get(*command: str) -> None:
    env = dict(os.environ) | {"DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "--quiet", *command], env=env, stdin=subprocess.DEVNULL, check=True)
