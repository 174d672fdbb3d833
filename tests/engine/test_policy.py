"""Helper, kernel and files say together who asks from where, and whether the token may go there."""

from __future__ import annotations

import pytest

from broker.engine.destination import Allowed, Scope, SettingsFile
from broker.engine.destination import Refused as RefusedVerdict
from broker.engine.policy import Found, Shown, Told, steers, surroundings, variables, verdict
from broker.errors import Refused
from broker.model import Kind

BASE = "https://llm.corp.example"
ANTHROPIC = "https://api.anthropic.com"


def raw(**variables: str) -> bytes:
    """Write an environment as the kernel shows it."""
    return "".join(f"{name}={value}\0" for name, value in variables.items()).encode()


HELPER = Shown(30, "/project", raw(HOME="/home/u", ANTHROPIC_BASE_URL=BASE, SECRET="x"))
CLAUDE = Shown(10, "/project", raw(HOME="/home/u"), ("claude", "-p"))
TOLD = Told("/project", (("ANTHROPIC_BASE_URL", BASE),))


def test_helper_and_claude_code_in_one_folder_are_one_place() -> None:
    """The usual case: what the helper sees is live, what Claude Code was started with the beginning."""
    around = surroundings(TOLD, HELPER, CLAUDE, "/root")
    assert around.place.folders == ("/project",)
    assert around.place.homes == ("/home/u/.claude",)
    assert around.place.view is None
    assert (around.live, around.initial) == ({"ANTHROPIC_BASE_URL": BASE}, {"HOME": "/home/u"})
    assert around.arguments == ("claude", "-p")
    assert around.certain


def test_a_claude_code_apart_from_us_is_seen_through_its_process() -> None:
    """In a container the same path may be another folder; where the kernel hides it, there is nothing to compare."""
    apart = Shown(10, "/project", b"", apart=True)
    assert surroundings(TOLD, None, apart, "/root").place.view == "/proc/10/cwd"
    assert surroundings(TOLD, None, Shown(10, None, b"", apart=True), "/root").place.view is None
    alone = Shown(30, "/project", HELPER.environment, apart=True)
    assert surroundings(TOLD, alone, None, "/root").place.view == "/proc/30/cwd"


def test_the_same_words_are_understood_once() -> None:
    """An ask that differs in nothing costs next to nothing: what was made for it is there."""
    assert surroundings(TOLD, HELPER, CLAUDE, "/root") is surroundings(TOLD, HELPER, CLAUDE, "/root")


@pytest.mark.parametrize(
    "told",
    [
        pytest.param(Told("/other", TOLD.variables), id="another folder"),
        pytest.param(Told("/project", ()), id="a variable left out"),
        pytest.param(Told("/project", (("ANTHROPIC_BASE_URL", "https://other.example"),)), id="another value"),
        pytest.param(Told("/project", (*TOLD.variables, ("CLAUDECODE", "1"))), id="one that is not there"),
    ],
)
def test_a_helper_that_contradicts_the_kernel_is_refused(told: Told) -> None:
    """Somebody speaks for it: its word would let a steered Claude Code pass for another."""
    with pytest.raises(Refused, match=r"but the kernel says|than the kernel does"):
        surroundings(told, HELPER, CLAUDE, "/root")


@pytest.mark.parametrize(
    ("told", "caller"),
    [
        pytest.param(Told(None, (("ANTHROPIC_BASE_URL", None),)), HELPER, id="too long to be told"),
        pytest.param(TOLD, Shown(30, None, None), id="the kernel shows nothing"),
        pytest.param(TOLD, None, id="the kernel names no process"),
    ],
)
def test_what_one_cannot_say_the_other_may(told: Told, caller: Shown | None) -> None:
    """A helper leaves out long values, and the kernel hides what a sandbox shuts off: neither is a contradiction."""
    around = surroundings(told, caller, None, "/root")
    assert around.place.folders == ("/project",)
    assert around.live == {"ANTHROPIC_BASE_URL": BASE}


def test_both_folders_count_where_the_helper_works_elsewhere() -> None:
    """A command that changes folder first does not lead the guard away from the project."""
    around = surroundings(TOLD, HELPER, Shown(10, "/elsewhere", None), "/root")
    assert around.place.folders == ("/elsewhere", "/project")


@pytest.mark.parametrize(
    ("told", "caller", "claude", "homes"),
    [
        pytest.param(TOLD, HELPER, CLAUDE, ("/home/u/.claude",), id="Claude Code's own HOME"),
        pytest.param(TOLD, HELPER, None, ("/home/u/.claude",), id="the helper's"),
        pytest.param(TOLD, None, None, ("/root/.claude",), id="the daemon's, where none is seen"),
        pytest.param(None, None, Shown(1, "/p", raw(CLAUDE_CONFIG_DIR="/c", HOME="/h")), ("/c",), id="moved"),
        pytest.param(None, None, Shown(1, "/p", raw(CLAUDE_CONFIG_DIR="c")), ("/p/c",), id="moved, relative"),
        pytest.param(
            Told("/p", (("CLAUDE_CONFIG_DIR", "/b"),)),
            None,
            Shown(1, "/p", raw(CLAUDE_CONFIG_DIR="/a")),
            ("/a", "/b"),
            id="moved twice: both count",
        ),
        pytest.param(
            Told("/p", (("CLAUDE_CONFIG_DIR", ".claude"),)),
            None,
            Shown(1, "/p", raw(HOME="/h")),
            ("/h/.claude", "/p/.claude"),
            id="moved since: both count",
        ),
    ],
)
def test_the_users_settings_are_where_claude_code_looks(
    told: Told | None, caller: Shown | None, claude: Shown | None, homes: tuple[str, ...]
) -> None:
    """CLAUDE_CONFIG_DIR before HOME, as Claude Code has it."""
    assert surroundings(told, caller, claude, "/root").place.homes == homes


@pytest.mark.parametrize(
    ("caller", "claude", "own"),
    [
        pytest.param(raw(), raw(HOME="/h"), "/h/.claude", id="Claude Code's HOME"),
        pytest.param(raw(), raw(CLAUDE_CONFIG_DIR="/c"), "/c", id="moved by who started it"),
        pytest.param(raw(CLAUDE_CONFIG_DIR=".claude"), raw(HOME="/h"), "/h/.claude", id="moved since"),
        pytest.param(raw(HOME="/p"), raw(HOME="/h"), "/h/.claude", id="HOME moved since"),
        pytest.param(raw(HOME="/root"), None, "/root/.claude", id="the daemon's"),
        pytest.param(raw(HOME="/p"), None, None, id="only a helper says so"),
        pytest.param(raw(CLAUDE_CONFIG_DIR=".claude"), None, None, id="only a helper says that it was moved"),
    ],
)
def test_no_project_says_which_settings_are_the_users(caller: bytes, claude: bytes | None, own: str | None) -> None:
    """They may say anything: a helper has in its environment what the project's settings set."""
    told = Told("/p", tuple((name, text) for name, text in (variables(caller) or {}).items() if steers(name)))
    started = None if claude is None else Shown(1, "/p", claude)
    assert surroundings(told, Shown(2, "/p", caller), started, "/root").place.own == own


@pytest.mark.parametrize(
    ("told", "claude", "words"),
    [
        pytest.param(None, Shown(10, None, None), r"Claude Code \(pid 10\) works", id="nothing is shown"),
        pytest.param(Told(None), None, "the caller works", id="nothing is told"),
        pytest.param(Told("project"), None, "not an absolute path", id="a relative folder"),
        pytest.param(Told("/p", (("CLAUDE_CONFIG_DIR", None),)), None, "too long to be checked", id="a hidden home"),
    ],
)
def test_what_leaves_open_where_claude_code_works_is_refused(
    told: Told | None, claude: Shown | None, words: str
) -> None:
    """Unknown is not harmless."""
    with pytest.raises(Refused, match=words):
        surroundings(told, None, claude, "/root")


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        (("claude", "--settings", "own.json"), "/project/own.json"),
        (("claude", "--settings=/x/own.json"), "/x/own.json"),
        (("claude", "--settings", '{"env": {}}'), None),
        (("claude",), None),
    ],
)
def test_the_file_of_the_command_line_is_found(arguments: tuple[str, ...], flag: str | None) -> None:
    """Relative to the working folder; JSON in its place is no file."""
    assert surroundings(None, None, Shown(10, "/project", None, arguments), "/root").place.flag == flag


def test_no_destination_is_none_to_refuse() -> None:
    """A person runs the helper in a terminal: no Claude Code is there that would send the token anywhere."""
    person = surroundings(Told("/x"), Shown(7, "/x", raw(HOME="/h")), None, "/root")
    assert not person.certain
    assert isinstance(verdict(person, Found(), (BASE,), Kind.API_KEY), Allowed)
    hidden = surroundings(Told("/x"), None, None, "/root")
    assert isinstance(verdict(hidden, Found(), (BASE,), Kind.API_KEY), RefusedVerdict), "a container's: who knows"


def test_a_claude_code_by_another_name_is_known_by_its_mark() -> None:
    """It gives every program that it starts a variable: then the usual destination counts."""
    child = surroundings(Told("/x"), Shown(7, "/x", raw(CLAUDE_CODE_ENTRYPOINT="cli")), None, "/root")
    assert child.certain
    assert isinstance(verdict(child, Found(), (BASE,), Kind.API_KEY), RefusedVerdict)


def test_the_audience_is_the_credentials_own_or_its_providers() -> None:
    """Empty in the config means the provider's endpoints, and nothing else."""
    plain = surroundings(None, None, Shown(10, "/x", b""), "/root")
    assert verdict(plain, Found(), (), Kind.API_KEY) == Allowed((ANTHROPIC,))
    assert isinstance(verdict(plain, Found(), (BASE,), Kind.API_KEY), RefusedVerdict)
    corp = surroundings(None, None, Shown(10, "/x", raw(ANTHROPIC_BASE_URL=BASE)), "/root")
    assert verdict(corp, Found(), (BASE,), Kind.API_KEY) == Allowed((BASE,))
    assert isinstance(verdict(corp, Found(), (), Kind.API_KEY), RefusedVerdict)


def test_files_and_what_was_allowed_of_them_are_judged() -> None:
    """A project's proxy is refused, until a person allowed that content."""
    around = surroundings(None, None, Shown(10, "/x", b""), "/root")
    file = SettingsFile.read("/x/.claude/settings.json", Scope.PROJECT, b'{"env": {"HTTPS_PROXY": "http://e.example"}}')
    refused = verdict(around, Found((file,)), (), Kind.API_KEY)
    assert isinstance(refused, RefusedVerdict)
    assert refused.key == "env.HTTPS_PROXY"
    allowed = verdict(around, Found((file,), frozenset({(file.path, file.sha256)})), (), Kind.API_KEY)
    assert isinstance(allowed, Allowed)


@pytest.mark.parametrize(
    ("name", "does"),
    [
        ("ANTHROPIC_BASE_URL", True),
        ("ANTHROPIC_WHATEVER_URL", True),
        ("CLAUDE_CODE_USE_BEDROCK", True),
        ("CLAUDE_CODE_SKIP_VERTEX_AUTH", True),
        ("CLAUDE_CONFIG_DIR", True),
        ("CLAUDECODE", True),
        ("CLAUDE_CODE_IGNORE_PERSISTED_TRUST", True),
        ("ANTHROPIC_API_KEY", False),
        ("CLAUDE_CODE_API_KEY_HELPER_TTL_MS", False),
        ("HTTPS_PROXY", False),
    ],
)
def test_the_helper_tells_of_what_steers(name: str, does: bool) -> None:  # noqa: FBT001  # a table
    """The same names as in the helper's own sources; nothing secret is among them."""
    assert steers(name) is does


def test_an_environment_is_read_as_programs_read_it() -> None:
    """The first of two equal names counts; what is no variable is none."""
    assert variables(b"A=1\0A=2\0B=\0nothing\0C=x=y\0\xff=\xfe\0") == {
        "A": "1",
        "B": "",
        "C": "x=y",
        "\udcff": "\udcfe",
    }
    assert variables(None) is None
