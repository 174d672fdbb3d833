"""The log of a daemon in the background."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from broker.background import log
from tests.cli.conftest import Type


def test_the_log_is_ours_alone_and_does_not_grow_for_ever(type_: Type, config: Path, folder: Path) -> None:
    """0600; what is over 1 MiB at a start is set aside, once."""
    state = folder / "state"
    state.mkdir(mode=0o700)
    (state / "broker.log").write_bytes(b"x" * (log.LENGTH_MAX + 1))
    type_("start")
    assert (state / "broker.log.1").stat().st_size == log.LENGTH_MAX + 1
    assert (state / "broker.log").stat().st_size < log.LENGTH_MAX
    assert stat.S_IMODE((state / "broker.log").stat().st_mode) == 0o600


def test_a_log_that_nobody_reads_hangs_no_start(type_: Type, config: Path, folder: Path) -> None:
    """A FIFO there is told of, and not waited for."""
    (folder / "state").mkdir(mode=0o700)
    os.mkfifo(folder / "state" / "broker.log")
    said = type_("start")
    assert said.code == 77
    assert "broker.log" in said.err


def test_a_log_that_leads_elsewhere_is_refused(type_: Type, config: Path, folder: Path) -> None:
    """A link there would have the daemon write into another file."""
    (folder / "state").mkdir(mode=0o700)
    (folder / "victim").write_text("")
    (folder / "state" / "broker.log").symlink_to(folder / "victim")
    said = type_("start")
    assert said.code == 77
    assert said.err.count("\n") == 1
    assert (folder / "victim").read_text() == ""
