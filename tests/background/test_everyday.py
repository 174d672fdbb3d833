"""`broker start`, `status`, `stop`, `restart` with a real daemon."""

from __future__ import annotations

from pathlib import Path

from tests.background.conftest import is_gone, pid
from tests.cli.conftest import Type


def test_start_status_stop(type_: Type, config: Path) -> None:
    """The everyday round; each command may be given twice."""
    started = type_("start")
    assert (started.code, started.err) == (0, "")
    assert started.out.startswith("started (pid ")
    again = type_("start")
    assert (again.code, pid(again.out)) == (0, pid(started.out))
    assert again.out.startswith("a daemon runs already (pid ")
    assert "work" in type_("status").out
    assert type_("stop").out == "stopped\n"
    assert is_gone(pid(started.out))
    stopped = type_("stop")
    assert (stopped.code, stopped.out) == (0, "no daemon was running\n")


def test_restart_gives_another_daemon(type_: Type, config: Path) -> None:
    """Also when none was running."""
    first = pid(type_("restart").out)
    second = type_("restart")
    assert second.code == 0
    assert second.out.startswith("restarted (pid ")
    assert pid(second.out) != first
    assert is_gone(first)


def test_restart_gives_up_no_daemon_for_a_config_that_is_wrong(type_: Type, config: Path) -> None:
    """What serves goes on serving, and the mistake is told; mended, it restarts."""
    running = pid(type_("start").out)
    good = config.read_text()
    config.write_text("wrong = ")
    said = type_("restart")
    assert said.code == 78
    assert "not valid TOML" in said.err
    assert said.err.endswith("goes on with the config it has\n")
    assert pid(type_("status").out) == running
    config.write_text(good)
    assert pid(type_("restart").out) != running
