"""`broker status`: what a person sees, what a script reads, what a monitor is told."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from broker.cli import terminal
from broker.cli.status import table, view
from broker.cli.status.check import judge
from tests.cli.conftest import CHECKOUT, Type
from tests.fakes.control import Script, credential_status

NOW = 1_767_225_600.0  # 2026-01-01T00:00:00Z


def quiet(name: str, **changes: object) -> dict[str, object]:
    """Make a credential whose row does not depend on the time of the day."""
    return credential_status(name, next_refresh_at=None, **changes)


def document(*credentials: dict[str, object], **daemon: object) -> dict[str, object]:
    """Make a status."""
    return Script(credentials=list(credentials), daemon=dict(daemon)).status("/run/b.sock")


def drawn(document: dict[str, object], width: int = 100, encoding: str = "utf-8") -> str:
    """Draw a status as a terminal of this width and encoding shows it."""
    screen = io.TextIOWrapper(io.BytesIO(), encoding)
    console = Console(
        file=screen, force_terminal=True, color_system="standard", width=width, _environ={}, highlight=False
    )
    return terminal.rendered(table.overview(document, console, NOW), console)


def test_a_screen_that_is_too_low_keeps_what_needs_a_look() -> None:
    """`--watch` cannot scroll: what is well gives way, and the screen says how much of it."""
    names = [f"fine-{number}" for number in range(20)]
    full = document(*map(quiet, names), quiet("broken", state="failing", last_error="nothing listens there"))
    screen = Console(file=io.StringIO(), width=100, height=12, _environ={})
    shown = terminal.rendered(table.low(full, screen, NOW), screen).splitlines()
    assert len(shown) == 12
    assert [line.split()[0] for line in shown if "fresh" in line] == names[:4]
    assert any(line.startswith("broken  ") and "nothing listens there" in line for line in shown)
    assert shown[-1] == "and 16 more that are well; see: broker status"
    screen.height = 40
    assert "and " not in terminal.rendered(table.low(full, screen, NOW), screen)


def test_a_pipe_gets_plain_aligned_text(type_: Type, control: Script, folder: Path) -> None:
    """No colour, no bar, nothing wrapped: one line per credential, and below them what is wrong, by name."""
    long = "HTTP 503 from the source, " + "which is a long story " * 20 + "indeed"
    control.daemon["pid"] = 7
    control.credentials = [
        quiet("work"),
        quiet("personal", source="keyring", expires_in_s=None, lifetime_s=None, served=3, refreshes=1),
        quiet("aws", state="stale", expires_in_s=130, refreshing=True, last_error=long),
    ]
    said = type_("status")
    assert (said.code, said.err) == (0, "")
    assert said.out == (
        f"broker 0.1.0 · pid 7 · up 3h 12m · helper native · persist off\n"
        f"{folder}/run/broker.sock\n"
        "\n"
        "CREDENTIAL  SOURCE   STATE               LEFT       NEXT REFRESH  SERVED  REFRESHES\n"
        "work        corp     fresh               42m                       1,204         31\n"
        "personal    keyring  fresh               no expiry                     3          1\n"
        "aws         corp     stale (refreshing)  2m 10s                    1,204         31\n"
        "\n"
        f"aws  {long}\n"
    )


def test_a_daemons_warning_stands_below_its_credentials(type_: Type, control: Script) -> None:
    """With its code, for a search; also where there is nothing else to show."""
    control.daemon["warnings"] = [{"code": "old-helper", "message": "the helper is of another version"}]
    control.credentials = []
    lines = type_("status").out.splitlines()
    assert lines[3] == "no credentials in the config; see: broker config show"
    assert lines[-1] == "broker  the helper is of another version (old-helper)"


def test_a_terminal_gets_state_by_colour_word_and_glyph_and_life_as_a_bar() -> None:
    """Nobody has to see colours to read it."""
    shown = drawn(document(quiet("work"), quiet("old", state="expired", expires_in_s=0)))
    assert re.search(r"\x1b\[32m● fresh *\x1b\[0m", shown)
    assert "▕███████   ▏ 42m" in shown
    assert re.search(r"\x1b\[31m✗ expired *\x1b\[0m", shown)
    assert "▕          ▏ expired" in shown


@pytest.mark.parametrize(
    ("width", "titles"),
    [
        (100, ["CREDENTIAL", "SOURCE", "STATE", "LEFT", "NEXT", "REFRESH", "SERVED", "REFRESHES"]),
        (72, ["CREDENTIAL", "SOURCE", "STATE", "LEFT", "NEXT", "REFRESH", "SERVED"]),
        (58, ["CREDENTIAL", "STATE", "LEFT", "NEXT", "REFRESH"]),
        (45, ["CREDENTIAL", "STATE", "LEFT"]),
    ],
)
def test_a_narrow_terminal_loses_columns_not_alignment(width: int, titles: list[str]) -> None:
    """The counts go first; the name, the state and the life left stay, each credential on one line."""
    lines = _plain(drawn(document(credential_status("work"), credential_status("日本")), width)).splitlines()
    heading, work, japan = lines[-3:]
    assert heading.split() == titles
    assert max(len(line) for line in lines) <= width
    # A Japanese character is two columns wide.
    assert heading.index("STATE") == work.index("●") == japan.index("●") + 2


@pytest.mark.parametrize(
    ("width", "titles"),
    [
        (112, ["IDENTITY", "SERVED", "REFRESHES"]),
        (100, ["IDENTITY", "SERVED"]),
        (90, ["IDENTITY"]),
        (80, ["SERVED", "REFRESHES"]),
        (58, []),
    ],
)
def test_a_wide_terminal_shows_as_whom(width: int, titles: list[str]) -> None:
    """Account, role and region, or the e-mail: before the counts, but never in a second line."""
    aws = quiet("cloud", details={"account_id": "111122223333", "role": "claude", "region": "eu-west-1"})
    google = quiet("vertex", details={"email": "claude@a-project.example", "region": "ignored"})
    lines = _plain(drawn(document(quiet("work"), aws, google), width)).splitlines()
    heading, work, cloud, vertex = lines[-4:]
    assert [title for title in ("IDENTITY", "SERVED", "REFRESHES") if title in heading] == titles
    assert heading.index("STATE") == work.index("●") == cloud.index("●") == vertex.index("●")
    assert max(len(line) for line in lines) <= width
    assert (" 111122223333 claude eu-west-1 " in cloud) == ("IDENTITY" in titles)
    assert (" claude@a-project.example " in vertex) == ("IDENTITY" in titles)


def test_what_is_wrong_is_wrapped_beside_the_name() -> None:
    """Nothing of it is cut off, whatever the width."""
    said = "a source that has much to say about why it cannot do what it is there for"
    first, *more = _plain(drawn(document(quiet("work", last_error=said)), 40)).rpartition("\n\n")[2].splitlines()
    assert first.startswith("work  a source")
    assert all(line.startswith(" " * 6) for line in more)
    assert [*first.split()[1:], *" ".join(more).split()] == said.split()


def test_a_terminal_without_unicode_gets_ascii() -> None:
    """Glyphs, bars and rules have a plain form, in which a little left never looks like nothing either."""
    shown = drawn(
        document(quiet("work", state="failing", last_error="no answer"), quiet("late", expires_in_s=1)),
        encoding="ascii",
    )
    assert shown.isascii()
    assert "[#######   ] 42m" in shown
    assert "[#         ] 1s" in shown


@pytest.mark.parametrize("shown_by", ["status", "status work"])
def test_an_error_text_cannot_steer_the_terminal(type_: Type, control: Script, shown_by: str) -> None:
    """A source's message is somebody else's text: escape sequences and markup in it are shown, not obeyed."""
    control.credentials = [quiet("work", last_error="\x1b]0;owned\x07\x1b[2J[red]gone[/red] :smile:")]
    shown = type_(shown_by).out
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "[red]gone[/red] :smile:" in shown


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


@pytest.mark.parametrize("line", ["status", "status work", "status --json", "status --check"])
def test_status_loads_nothing_heavy(control: Script, line: str) -> None:
    """It answers within 150 ms only if the daemon's libraries stay out, and rich where there is no terminal."""
    program = f"import sys; from broker.cli import main; main({line.split()}); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=CHECKOUT, env=os.environ
    )
    loaded = set(done.stderr.split())
    assert "rich" not in loaded
    assert "rich.live" not in loaded
    assert not loaded & {"aiohttp", "asyncio", "cattrs", "keyring", "broker.daemon", "broker.config"}


def on_a_terminal(line: str, **env: str) -> str:
    """Run a command with a terminal as stdout, and return what it drew."""
    master, slave = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "broker.cli", *line.split()],
        stdout=slave,
        stdin=subprocess.DEVNULL,
        cwd=CHECKOUT,
        env=os.environ | {"TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"} | env,
    ) as drawing:
        os.close(slave)
        drawn = b""
        try:
            while piece := os.read(master, 4096):
                drawn += piece
        except OSError:  # Linux's way to say that the other end is closed
            pass
    os.close(master)
    assert drawing.returncode == 0
    return drawn.decode(env.get("PYTHONIOENCODING", "utf-8"))


def test_colour_only_where_it_is_welcome(control: Script) -> None:
    """A terminal gets colour and bars; with NO_COLOR it keeps the bars, and a dumb one gets plain text."""
    assert "\x1b[32m● fresh" in on_a_terminal("status")
    without = on_a_terminal("status", NO_COLOR="1")
    assert "● fresh" in without
    assert "▕███████   ▏ 42m" in without
    assert not re.search(r"\x1b\[[0-9;]*[349]\d", without), "weight is no colour (no-color.org), but red is"
    dumb = on_a_terminal("status", TERM="dumb")
    assert "●" not in dumb
    assert "\x1b" not in dumb


def test_a_pipe_gets_no_colour_whatever_the_environment_says(
    spawn: Callable[..., subprocess.Popen[str]], control: Script
) -> None:
    """What a script reads does not depend on a variable that some CI sets."""
    with spawn("status", FORCE_COLOR="1", COLUMNS="20", TERM="xterm-256color") as status:
        out, _ = status.communicate(timeout=60)
    assert "\x1b" not in out
    assert re.search("^work +corp +fresh +42m ", out, re.MULTILINE)


def test_a_name_that_the_terminal_cannot_show_is_no_traceback(control: Script) -> None:
    """It is shown as question marks."""
    control.credentials = [quiet("日本")]
    assert re.search(r"\?\? +corp +fresh ", _plain(on_a_terminal("status", PYTHONIOENCODING="latin-1", COLUMNS="100")))


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_a_pool_shows_each_member(type_: Type, control: Script) -> None:
    """In a line: how it is, and why and how long it rests."""
    members = [
        {"name": "a", "state": "fresh", "rests_s": 40, "why": "upstream limits its rate", "last_error": None},
        {"name": "b", "state": "failing", "rests_s": 0, "why": None, "last_error": "no route"},
    ]
    control.credentials = [quiet("work", details={"strategy": "failover", "members": members})]
    lines = [line.split(maxsplit=2) for line in type_("status work").out.splitlines()]
    assert ["strategy", "failover"] in lines
    assert ["member", "a", "fresh; rests for 40s: upstream limits its rate"] in lines
    assert ["member", "b", "failing"] in lines
