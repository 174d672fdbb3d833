"""`broker doctor`: what a person and a program see of what the doctor finds."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from broker.cli import terminal
from broker.cli.doctor import table, view
from broker.doctor import Report
from broker.doctor.finding import error, fine, notice, warning
from tests.cli.conftest import Type

REPORT = Report(
    [
        ("places", fine("places", "config /c")),
        ("config", error("config-missing", "no config", "nothing is there", "broker setup claude-code")),
        ("Claude Code", warning("ttl-too-long", "long\x1b[31m", "why", "mend it")),
        ("clock", notice("clock-unsynchronised", "no server", "why", "mend it")),
    ],
    1.25,
)


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> Report:
    """Let the doctor find this."""
    monkeypatch.setattr("broker.doctor.examine", lambda *_: REPORT)
    return REPORT


def drawn(report: Report, *, encoding: str = "utf-8") -> str:
    """Draw it as a terminal shows it."""
    screen = io.TextIOWrapper(io.BytesIO(), encoding)
    console = Console(file=screen, force_terminal=True, color_system="standard", width=80, _environ={}, highlight=False)
    return terminal.rendered(table.draw(report, console), console)


@pytest.mark.usefixtures("report")
def test_a_pipe_gets_plain_text(type_: Type) -> None:
    """What is fine in a line; what is wrong with its code, why it matters, and what mends it; nothing unprintable."""
    said = type_("doctor")
    assert (said.code, said.err) == (2, "")
    assert said.out == (
        "ok        places       config /c\n"
        "error     config       no config (config-missing)\n"
        "                       why: nothing is there\n"
        "                       mend: broker setup claude-code\n"
        "warning   Claude Code  long�[31m (ttl-too-long)\n"
        "                       why: why\n"
        "                       mend: mend it\n"
        "notice    clock        no server (clock-unsynchronised)\n"
        "                       why: why\n"
        "                       mend: mend it\n"
        "\n"
        "1 error, 1 warning, 1 notice (1.2 s)\n"
    )


@pytest.mark.usefixtures("report")
def test_a_program_gets_json(type_: Type) -> None:
    """Every finding by itself, with a code that stays the same, and a summary."""
    answer = json.loads(type_("doctor --json").out)
    assert answer["summary"] == {"exit": 2, "ok": 1, "notice": 1, "warning": 1, "error": 1, "seconds": 1.25}
    assert answer["findings"][1] == {
        "area": "config",
        "severity": "error",
        "code": "config-missing",
        "what": "no config",
        "why": "nothing is there",
        "mend": "broker setup claude-code",
    }


def test_a_terminal_gets_marks_and_colours() -> None:
    """Or words, where it knows no marks; a terminal is never steered by what was found."""
    shown = drawn(REPORT)
    assert "✓" in shown
    assert "\x1b[31m✗" in shown
    assert "long\x1b[31m" not in shown
    assert "error" in drawn(REPORT, encoding="ascii")


def test_a_terminal_is_drawn_for(type_: Type, report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same findings as in a pipe."""
    monkeypatch.setattr("broker.cli.output.on_terminal", lambda: True)
    assert "config-missing" in type_("doctor").out


def test_all_is_well() -> None:
    """Said in as many words."""
    assert view.summary(Report([("a", fine("a", "b"))], 0.04)) == "all is well (0.0 s)"


def test_a_folder_that_is_gone_is_no_reason_to_fail(type_: Type, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person may well ask from one; and the doctor itself is run, not a stand-in."""
    gone = folder / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    said = type_("doctor --json")
    assert said.code == 2
    assert "config-missing" in {found["code"] for found in json.loads(said.out)["findings"]}


def test_it_says_how_it_is_used(type_: Type) -> None:
    """With its exit codes."""
    said = type_("doctor --help")
    assert said.code == 0
    assert "2  something does not work, or is not safe" in said.out
