"""Which callers are certainly Claude Code's `apiKeyHelper`."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest

from broker.engine.callers import Session, by_its_mark, is_claude, is_run_by, may_be_claude, session_of
from broker.model import Process

Chain = list[tuple[str, list[str]]]
"""A caller's ancestry, nearest first: short name and arguments of each process."""

HELPER = ("broker-helper", ["/home/u/.local/bin/broker-helper", "work"])
SHELL = ("sh", ["/bin/sh", "-c", "/home/u/.local/bin/broker-helper work"])
CLAUDE = ("claude", ["claude", "-p", "say pong"])
INIT = ("systemd", ["/sbin/init"])
CLI_JS = "/usr/lib/node_modules/@anthropic-ai/claude-code/cli.js"


def _session(chain: Chain) -> Session | None:
    processes = [Process(100 + at, 101 + at, 7000 - at, name) for at, (name, _) in enumerate(chain)]
    arguments = {100 + at: argv for at, (_, argv) in enumerate(chain)}

    def argv(pid: int) -> Sequence[str]:
        return arguments[pid]

    return session_of(processes, argv)


def _shell(command: str, name: str = "sh") -> tuple[str, list[str]]:
    return name, [f"/bin/{name}", "-c", command]


@pytest.mark.parametrize(
    "chain",
    [
        pytest.param([HELPER, SHELL, CLAUDE, INIT], id="as measured: helper <- sh -c <- claude"),
        pytest.param([HELPER, SHELL, ("claude.exe", ["/x/bin/claude.exe"])], id="npm's executable by its own name"),
        pytest.param([HELPER, SHELL, (".claude-wrapped", ["claude"])], id="behind a wrapper of Nix's"),
        pytest.param([HELPER, SHELL, ("node", ["node", CLI_JS, "-p", "x"])], id="node running the package"),
        pytest.param([HELPER, SHELL, ("node", ["node", "/usr/bin/claude"])], id="node running npm's link"),
        pytest.param([HELPER, SHELL, ("node", ["node", "/x/claude-agent-sdk/cli.mjs"])], id="the agent SDK's copy"),
        pytest.param([HELPER, SHELL, ("2.1.330", ["/x/claude/versions/2.1.330"])], id="a version of the installer's"),
        pytest.param([HELPER, SHELL, ("MainThread", ["/home/u/.local/bin/claude"])], id="known by its first argument"),
        pytest.param([HELPER, _shell("broker-helper", "bash"), CLAUDE], id="another shell"),
        pytest.param([HELPER, _shell("broker-helper", "dash"), CLAUDE], id="dash by its own name"),
    ],
)
def test_the_helper_below_one_shell_of_claude_code_is_its_session(chain: Chain) -> None:
    """The session is the Claude Code process, pinned by its start time."""
    assert _session(chain) == Session(pid=102, started=6998)


def test_a_shell_that_replaced_itself_by_the_helper_leaves_the_same_session() -> None:
    """Bash and macOS's sh exec their only command: helper <- claude is as certain."""
    assert _session([HELPER, CLAUDE, INIT]) == Session(pid=101, started=6999)


@pytest.mark.parametrize(
    "chain",
    [
        pytest.param([], id="nobody: a pid of another namespace"),
        pytest.param([HELPER], id="the helper alone"),
        pytest.param([HELPER, SHELL], id="Claude Code is gone"),
        pytest.param([HELPER, SHELL, INIT], id="no Claude Code"),
        pytest.param([HELPER, ("bash", ["-bash"]), ("tmux", ["tmux"])], id="a person's shell"),
        pytest.param([HELPER, ("bash", ["bash"]), CLAUDE], id="an interactive shell below Claude Code"),
        pytest.param([HELPER, ("bash", ["bash", "/x/line.sh"]), SHELL, CLAUDE], id="a script in between"),
        pytest.param([HELPER, ("bash", ["bash", "/x/line.sh"]), CLAUDE], id="a script whose sh replaced itself"),
        pytest.param([HELPER, ("line.sh", ["/bin/bash", "/x/line.sh"]), CLAUDE], id="a script run by its first line"),
        pytest.param([HELPER, SHELL, _shell("/x/line.sh"), CLAUDE], id="two shells"),
        pytest.param([HELPER, SHELL, ("python3", ["python3", "tool.py"]), CLAUDE], id="a tool's own shell"),
        pytest.param([HELPER, ("python3", ["python3", "tool.py"]), CLAUDE], id="a tool that asks by itself"),
        pytest.param([HELPER, ("sh", ["/bin/sh", "-c"]), CLAUDE], id="a shell without a command"),
        pytest.param([HELPER, ("sh", ["/bin/sh", "-ec", "broker-helper"]), CLAUDE], id="other options"),
        pytest.param([HELPER, ("sh", ["/bin/sh", "-c", "broker-helper", "x"]), CLAUDE], id="more arguments"),
        pytest.param([HELPER, ("sh", []), CLAUDE], id="a shell whose arguments are hidden"),
        pytest.param([HELPER, SHELL, ("claude-line", ["/x/claude-line"])], id="a program named after Claude"),
        pytest.param([HELPER, SHELL, ("bash", ["bash", "/x/claude-line.sh"])], id="a script named after Claude"),
        pytest.param([HELPER, SHELL, ("python3", ["python3", "/src/claude-code/x.py"])], id="a folder named after it"),
        pytest.param([HELPER, SHELL, ("vi", ["vi", "a", "claude"])], id="Claude only among later arguments"),
    ],
)
def test_any_other_ancestry_is_no_evidence(chain: Chain) -> None:
    """Status lines, hooks, tools, scripts and people may ask as often as they like."""
    assert _session(chain) is None


@pytest.mark.parametrize(
    "command",
    [
        "broker-helper",
        "broker-helper work",
        " /opt/my\\ tools/broker-helper 'work' ",
        "broker-helper work\n",
        '"/opt/my tools/broker-helper" "work"',
        "broker-helper 2>/dev/null",
        "broker-helper work 2>>/tmp/log </dev/null",
        "exec broker-helper",
        "BROKER_CREDENTIAL=work broker-helper",
    ],
)
def test_a_single_command_is_what_apikeyhelper_is(command: str) -> None:
    """Quotes, redirections, variables and `exec` make no script of it."""
    assert _session([HELPER, _shell(command), CLAUDE]) is not None


@pytest.mark.parametrize(
    "command",
    [
        "broker-helper | cut -c1-8",
        "broker-helper; date",
        "date;broker-helper",
        "cd /x && broker-helper",
        "broker-helper || true",
        "broker-helper & wait",
        "(broker-helper)",
        "echo $(broker-helper)",
        'echo "$(broker-helper)"',
        "echo `broker-helper`",
        "broker-helper\nbroker-helper",
        "broker-helper x#; broker-helper",
        "while true; do broker-helper; sleep .3; done",
        "broker-helper 'unfinished",
        'broker-helper "unfinished',
        "broker-helper unfinished\\",
    ],
)
def test_a_script_in_the_shell_s_argument_is_no_evidence(command: str) -> None:
    """More than one command, or what cannot be read: a status line that also calls the helper looks like this."""
    assert _session([HELPER, _shell(command), CLAUDE]) is None


@pytest.mark.parametrize("piece", ["a", "'a' ", "\\", '"', "\\a", ";", "/", "/claude", "@anthropic-ai/claude-code"])
def test_a_huge_argument_costs_no_time(piece: str) -> None:
    """A hostile process can have arguments of a megabyte: judging them holds up nobody."""
    huge = piece * (1_000_000 // len(piece))
    started = time.process_time()
    _session([HELPER, _shell(huge), CLAUDE])
    _session([HELPER, SHELL, ("x", [huge, huge])])
    assert time.process_time() - started < 0.2


@pytest.mark.parametrize(
    ("name", "may"),
    [("claude", True), ("node", True), ("2.1.330", True), ("sh", False), ("python3", False), ("", False)],
)
def test_the_quick_look_at_a_name_rules_out_only_strangers(name: str, may: bool) -> None:  # noqa: FBT001  # a table
    """Whoever can be Claude Code is looked at closely; all others cost next to nothing."""
    assert may_be_claude(Process(7, 1, 1, name)) is may


@pytest.mark.parametrize(
    ("name", "argv", "found"),
    [
        ("claude", ["anything"], True),
        ("node", ["node", "--max-old-space-size=8192", "--no-warnings", CLI_JS, "-p", "x"], True),
        ("2.1.330", ["/x/claude/versions/2.1.330"], True),
        ("node", ["node", "server.js"], False),
        ("python3", ["python3", CLI_JS], False),
    ],
)
def test_claude_code_is_found_behind_the_options_of_its_runtime(name: str, argv: list[str], found: bool) -> None:  # noqa: FBT001  # a table
    """The guard must not miss one; for a session, which must be certain, the script has to be the first argument."""
    assert is_claude(Process(7, 1, 1, name), lambda _pid: argv) is found


@pytest.mark.parametrize(
    ("chain", "commands", "is_one"),
    [
        ([HELPER, SHELL, CLAUDE], {SHELL[1][2] + "\n"}, True),
        ([HELPER, SHELL, CLAUDE], {"other", SHELL[1][2]}, True),
        ([HELPER, SHELL, CLAUDE], {"broker-helper work"}, False),
        ([HELPER, SHELL, CLAUDE], set(), False),
        ([HELPER, CLAUDE, INIT], {"'/home/u/.local/bin/broker-helper'  work "}, True),
        ([HELPER, CLAUDE, INIT], {"/home/u/.local/bin/broker-helper other", "'", "x" * 5000}, False),
    ],
)
def test_a_command_of_the_settings_is_known_again(chain: Chain, commands: set[str], is_one: bool) -> None:  # noqa: FBT001  # a table
    """By the shell's argument, or by the helper's own where the shell replaced itself."""
    processes = [Process(at, at + 1, 1, name) for at, (name, _) in enumerate(chain)]
    assert is_run_by(commands, processes, lambda pid: chain[pid][1]) is is_one


def test_a_claude_code_by_another_name_is_known_by_its_mark() -> None:
    """What it starts is marked, it itself is not; who merely adopted a program of its is none."""
    helper, shell, own, adopting = (
        Process(pid, pid + 1, 1, name) for pid, name in enumerate(("h", "sh", "own", "init"))
    )
    marked, plain = b"CLAUDE_CODE_ENTRYPOINT=cli\0", b"HOME=/\0"
    environments = {0: marked, 1: marked, 2: plain, 3: plain}
    assert by_its_mark([helper, shell, own], environments.get) == own
    assert by_its_mark([helper, shell, adopting], environments.get) is None
    assert by_its_mark([own], environments.get) is None
