"""`broker status`: what a person sees, what a script reads, what a monitor is told."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from broker.cli import table, view
from broker.cli.check import judge
from tests.cli.conftest import CHECKOUT, Type
from tests.fakes.control import Script, credential_status

TERMINAL = table.Look(colour=True, bars=True, width=100)
NOW = 1_767_225_600.0  # 2026-01-01T00:00:00Z


def quiet(name: str, **changes: object) -> dict[str, object]:
    """Make a credential whose row does not depend on the time of the day."""
    return credential_status(name, next_refresh_at=None, **changes)


def document(*credentials: dict[str, object], **daemon: object) -> dict[str, object]:
    """Make a status."""
    return Script(credentials=list(credentials), daemon=dict(daemon)).status("/run/b.sock")


def test_a_pipe_gets_plain_aligned_text(type_: Type, control: Script, folder: Path) -> None:
    """No colour, no bar: one line per credential, what is wrong with it below."""
    control.daemon["pid"] = 7
    control.credentials = [
        quiet("work"),
        quiet("personal", source="keyring", expires_in_s=None, lifetime_s=None, served=3, refreshes=1),
        quiet("aws", state="stale", expires_in_s=130, refreshing=True, last_error="HTTP 503 from the source"),
    ]
    said = type_("status")
    assert (said.code, said.err) == (0, "")
    assert said.out == (
        f"broker 0.1.0 · pid 7 · up 3h 12m · helper native · persist off\n"
        f"{folder}/run/broker.sock\n"
        "\n"
        "CREDENTIAL  SOURCE   STATE               LEFT       SERVED  REFRESHES\n"
        "work        corp     fresh               42m         1,204         31\n"
        "personal    keyring  fresh               no expiry       3          1\n"
        "aws         corp     stale (refreshing)  2m 10s      1,204         31\n"
        "  ╰ HTTP 503 from the source\n"
    )


def test_a_terminal_gets_state_by_colour_word_and_glyph_and_life_as_a_bar() -> None:
    """Nobody has to see colours to read it."""
    drawn = table.draw(document(quiet("work"), quiet("old", state="expired", expires_in_s=0)), TERMINAL, NOW)
    assert "\x1b[32m● fresh\x1b[0m" in drawn
    assert "▕███████   ▏ 42m" in drawn
    assert "\x1b[31m✗ expired\x1b[0m" in drawn
    assert "▕          ▏ expired" in drawn


def test_a_narrow_terminal_loses_columns_not_alignment() -> None:
    """The counts go first; the name and the state stay."""
    narrow = table.Look(bars=True, width=50)
    lines = table.draw(document(credential_status("work")), narrow, NOW).splitlines()
    heading = next(line for line in lines if line.startswith("CREDENTIAL"))
    assert heading.split() == ["CREDENTIAL", "STATE", "LEFT"]
    assert all(len(line) <= 50 for line in lines[lines.index(heading) :])


def test_a_terminal_without_unicode_gets_ascii() -> None:
    """Glyphs, bars and rules have a plain form."""
    plain = table.Look(bars=True, unicode=False, width=100)
    drawn = table.draw(document(quiet("work", state="failing", last_error="no answer")), plain, NOW)
    assert drawn.isascii()
    assert "[#######   ] 42m" in drawn


def test_an_error_text_cannot_steer_the_terminal() -> None:
    """A source's message is somebody else's text: escape sequences in it are shown, not obeyed."""
    drawn = table.draw(document(quiet("work", last_error="\x1b]0;owned\x07\x1b[2Jgone")), table.Look(), NOW)
    assert "\x1b" not in drawn
    assert "\x07" not in drawn


def test_the_next_refresh_is_told_as_time_to_go() -> None:
    """In units that a person reads at a glance."""
    soon = credential_status("work", next_refresh_at="2026-01-01T00:28:09Z")
    assert view.row(soon, NOW).next_refresh == "in 28m"
    assert view.row(soon, NOW + 3600).next_refresh == "due"


@pytest.mark.parametrize(
    ("share", "drawn"),
    [(1.0, "██████████"), (0.5, "█████     "), (0.001, "▏         "), (0.0, "          "), (7.0, "██████████")],
)
def test_the_bar_shows_the_share_that_is_left(share: float, drawn: str) -> None:
    """A little left never looks like nothing, and nothing overflows."""
    assert view.bar(share) == drawn


def test_one_credential_by_name_is_told_in_full(type_: Type, control: Script) -> None:
    """All that the daemon knows, by label."""
    control.credentials = [quiet("work", details={"account": "123456789012"}, failures=2), quiet("other")]
    said = type_("status work")
    assert said.code == 0
    facts = dict(re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in said.out.splitlines()[1:])
    assert facts["account"] == "123456789012"
    assert facts["refreshes"] == "31 (2 failed)"
    assert facts["fingerprint"] == "0123456789ab"
    assert "other" not in said.out


def test_an_unknown_name_is_an_error_with_the_nearest_one(type_: Type, control: Script) -> None:
    """78, as the helper exits for a credential that is not in the config."""
    said = type_("status wrok")
    assert (said.code, said.out) == (78, "")
    assert said.err.endswith("did you mean work?\n")


def test_json_is_the_daemons_answer_unchanged(type_: Type, control: Script, folder: Path) -> None:
    """Byte for byte; with a name, the same document with that credential alone."""
    control.raw["/v1/status"] = b'{"daemon":  {},\n "credentials": [], "later": 1}'
    assert type_("status --json").out == control.raw["/v1/status"].decode() + "\n"
    del control.raw["/v1/status"]
    control.credentials = [quiet("work"), quiet("other")]
    narrowed = json.loads(type_("status other --json").out)
    assert [item["name"] for item in narrowed["credentials"]] == ["other"]
    assert narrowed["daemon"]["helper"] == "native"


def test_without_a_daemon_it_says_how_to_start_one_and_starts_none(
    type_: Type, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking must not change what is looked at."""
    monkeypatch.delenv("BROKER_AUTOSTART")
    said = type_("status")
    assert (said.code, said.out) == (69, "")
    assert said.err == f"broker: no daemon answers on {folder}/run/broker.sock; start it with: broker start\n"


@pytest.mark.parametrize(
    ("credentials", "daemon", "code", "line"),
    [
        ([quiet("a"), quiet("b")], {}, 0, "OK - 2 credentials fresh"),
        ([quiet("a"), quiet("b", state="empty")], {}, 0, "OK - 2 credentials, 1 empty, 1 fresh"),
        ([], {}, 0, "OK - 0 credentials"),
        ([quiet("a"), quiet("b", state="stale")], {}, 1, "WARNING - b: stale"),
        ([quiet("a", state="locked")], {"locked": True}, 1, "WARNING - a: locked; the daemon is locked"),
        ([quiet("a", warnings=[{"code": "x", "message": "y"}])], {}, 1, "WARNING - a: fresh, y (x)"),
        ([quiet("a")], {"warnings": [{"code": "x", "message": "y"}]}, 1, "WARNING - y (x)"),
        ([quiet("a", state="stale"), quiet("b", state="expired")], {}, 2, "CRITICAL - b: expired; a: stale"),
        ([quiet("a", state="failing")], {}, 2, "CRITICAL - a: failing"),
        ([quiet("a", state="needs-login")], {}, 2, "CRITICAL - a: needs-login"),
        ([quiet("a", state="of-a-later-version")], {}, 2, "CRITICAL - a: of-a-later-version"),
    ],
)
def test_check_judges_as_a_monitoring_plugin(
    credentials: list[dict[str, object]], daemon: dict[str, object], code: int, line: str
) -> None:
    """The worst decides, and is named first."""
    assert judge(document(*credentials, **daemon)) == (code, line)


def test_check_exits_with_its_verdict(type_: Type, control: Script) -> None:
    """One line on stdout, with --json the document instead; the exit code is the same."""
    control.credentials = [quiet("work", state="stale")]
    said = type_("status --check")
    assert (said.code, said.out, said.err) == (1, "WARNING - work: stale\n", "")
    said = type_("status --check --json")
    assert said.code == 1
    assert json.loads(said.out)["credentials"][0]["state"] == "stale"


def test_check_without_a_daemon_is_unknown(type_: Type) -> None:
    """3, on stdout as monitors want it; with --json stdout stays empty."""
    said = type_("status --check")
    assert said.code == 3
    assert said.out.startswith("UNKNOWN - no daemon answers on ")
    said = type_("status --check --json")
    assert (said.code, said.out) == (3, "")


def test_an_answer_of_another_version_is_no_traceback(type_: Type, control: Script) -> None:
    """After an upgrade the old daemon may still run."""
    control.credentials = [{"name": "work"}]
    said = type_("status")
    assert (said.code, said.err) == (
        69,
        "broker: the daemon's answer is not of this version; run: broker restart\n",
    )


def test_status_loads_nothing_heavy(control: Script) -> None:
    """It answers within 150 ms only if the daemon's libraries stay out."""
    program = "import sys; from broker.cli import main; main(['status']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=CHECKOUT, env=os.environ
    )
    loaded = set(done.stderr.split())
    assert "broker.cli.table" in loaded
    assert not loaded & {"aiohttp", "asyncio", "cattrs", "rich", "keyring", "broker.daemon", "broker.config"}


def on_a_terminal(line: str, **env: str) -> str:
    """Run a command with a terminal as stdout, and return what it drew."""
    master, slave = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "broker.cli", *line.split()],
        stdout=slave,
        stdin=subprocess.DEVNULL,
        cwd=CHECKOUT,
        env=os.environ | {"TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"} | env,
    ):
        os.close(slave)
        drawn = b""
        try:
            while piece := os.read(master, 4096):
                drawn += piece
        except OSError:  # Linux's way to say that the other end is closed
            pass
    os.close(master)
    return drawn.decode()


def test_colour_only_where_it_is_welcome(control: Script) -> None:
    """A terminal gets colour and bars; with NO_COLOR it keeps the bars, and a dumb one gets plain text."""
    assert "\x1b[32m● fresh" in on_a_terminal("status")
    without = on_a_terminal("status", NO_COLOR="1")
    assert "● fresh" in without
    assert "\x1b" not in without
    assert "●" not in on_a_terminal("status", TERM="dumb")
