"""The command line as a whole: help, completion, exit codes, one line per error."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from broker import __version__
from broker.cli import COMMANDS, cli, main
from tests.cli.conftest import CHECKOUT, Type
from tests.fakes.control import Script

Spawn = Callable[..., subprocess.Popen[str]]


def every_command() -> Iterator[str]:
    """Name every command and subcommand."""
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        yield name
        if isinstance(command, click.Group):
            yield from (f"{name} {inner}" for inner in command.list_commands(context))


@pytest.mark.parametrize("command", list(every_command()))
def test_every_command_has_help_with_an_example(type_: Type, command: str) -> None:
    """It fits a terminal of eighty columns, no summary is cut off, and the example begins with the command itself."""
    said = type_(f"{command} --help")
    assert said.code == 0
    assert [line for line in said.out.splitlines() if len(line) > 80] == []
    assert "...\n" not in said.out.partition("Commands:\n")[2]
    assert "Example" in said.out
    assert f"broker {command}" in said.out.partition("Example")[2]


def test_help_names_every_command(type_: Type) -> None:
    """A newcomer finds all there is, each with a summary that fits its line."""
    listed = type_("--help").out.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in listed] == sorted(COMMANDS)
    assert all(line.endswith(".") and not line.endswith("...") for line in listed)


@pytest.mark.parametrize("group", ["", "config", "secret", "setup"])
def test_a_group_without_a_command_shows_its_help(type_: Type, group: str) -> None:
    """The first thing a newcomer types is `broker`: a page to read, on stderr, and 64 for a script that forgot the rest."""
    said = type_(group)
    assert (said.code, said.out) == (64, "")
    assert said.err == type_(f"{group} --help").out


def test_version(type_: Type) -> None:
    """`broker --version`."""
    assert type_("--version").out == f"broker {__version__}\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("frobnicate", "broker: No such command 'frobnicate'; see: broker --help\n"),
        ("statsu", "broker: no such command: statsu; did you mean status?; see: broker --help\n"),
        ("token one two", "broker: Got unexpected extra argument (two); see: broker token --help\n"),
        ("export work --format xml", "broker: Invalid value for '--format'"),
        ("exec work", "broker: Missing argument 'COMMAND...'; see: broker exec --help\n"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_64(type_: Type, line: str, said: str) -> None:
    """What was wrong, and where to read more."""
    found = type_(line)
    assert (found.code, found.out) == (64, "")
    assert found.err.startswith(said)
    assert found.err.count("\n") == 1


def test_a_setting_that_cannot_be_is_one_line_and_78(type_: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative socket path could name a stranger's socket in the project's folder."""
    monkeypatch.setenv("BROKER_SOCKET", "broker.sock")
    found = type_("status")
    assert found.code == 78
    assert found.err == "broker: BROKER_SOCKET=broker.sock: must be an absolute path\n"


def test_a_disk_that_says_no_is_no_traceback(type_: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line with the file's name."""
    monkeypatch.setenv("BROKER_STATE_DIR", "/proc/nowhere")
    found = type_("start")
    assert found.code == 74
    assert found.err == "broker: /proc/nowhere: No such file or directory\n"


def test_ctrl_c_exits_with_130(monkeypatch: pytest.MonkeyPatch, folder: object) -> None:
    """As every shell expects, and without a traceback."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("broker.client.Client.status_text", interrupted)
    assert main(["status"]) == 130


def test_a_reader_that_has_enough_is_no_error(control: Script) -> None:
    """`broker status | true` says nothing on stderr."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "broker.cli", "status"], stdout=write, stderr=subprocess.PIPE, cwd=CHECKOUT, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize(("line", "code"), [("status --check", 0), ("status", 0), ("config path", 0), ("token no", 78)])
def test_a_closed_stdout_changes_no_exit_code(control: Script, line: str, code: int) -> None:
    """A monitor that runs `broker status --check >&-` gets its answer, and nobody a traceback."""
    shell = ["sh", "-c", f'exec "$0" -P -m broker.cli {line} >&-', sys.executable]
    env = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(shell, env=env, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == code
    assert "Traceback" not in done.stderr


def test_a_closed_stderr_is_no_place_for_a_file_of_ours() -> None:
    """The next one to be opened, a lock or the cache, would be descriptor 2, to which any library may complain."""
    look = "import os; from broker.cli import main; main(['--version']); print(os.readlink('/dev/fd/2'))"
    shell = ["sh", "-c", 'exec "$0" -P -c "$1" 2>&-', sys.executable, look]
    done = subprocess.run(
        shell, env=os.environ | {"PYTHONPATH": str(CHECKOUT)}, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == os.devnull


@pytest.mark.parametrize("line", ["secret set work", "unlock", "status"])
def test_a_closed_stdin_is_an_empty_one(control: Script, line: str) -> None:
    """A job that was started with `<&-` gets one line, and no traceback."""
    shell = ["sh", "-c", f'exec "$0" -P -m broker.cli {line} "$@"', sys.executable]
    env = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    empty = subprocess.run(shell, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    shell[2] += " <&-"
    closed = subprocess.run(shell, env=env, capture_output=True, text=True, check=False)
    assert (closed.returncode, closed.stderr) == (empty.returncode, empty.stderr)
    assert len(closed.stderr.splitlines()) <= 1


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("line", ["status", "status --json", "token", "config path", "--version"])
def test_a_full_disk_behind_stdout_is_one_line_and_74(control: Script, line: str, unbuffered: str) -> None:
    """However Python buffers: what could not be written is no success, and no traceback."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "broker.cli", *line.split()],
            env=os.environ | {"PYTHONPATH": str(CHECKOUT), "PYTHONUNBUFFERED": unbuffered},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 74
    assert done.stderr.startswith("broker: ")
    assert done.stderr.endswith(": No space left on device\n")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_shells_script(type_: Type, shell: str) -> None:
    """A script for `broker` that asks it with `_BROKER_COMPLETE`."""
    said = type_(f"completion {shell}")
    assert said.code == 0
    assert f"_BROKER_COMPLETE={shell}_complete" in said.out


def completed(spawn: Spawn, words: str) -> set[str]:
    """Ask as bash does on TAB after `words`."""
    count = str(len(words.split(" ")) - 1)
    with spawn("", _BROKER_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=count) as shell:
        out, _ = shell.communicate(timeout=60)
    return {line.partition(",")[2] for line in out.split()}


def test_commands_options_and_credentials_complete(spawn: Spawn, control: Script) -> None:
    """Names of credentials come from the running daemon."""
    assert completed(spawn, "broker sta") == {"start", "status"}
    assert completed(spawn, "broker status --ch") == {"--check"}
    assert completed(spawn, "broker token w") == {"work"}
    assert completed(spawn, "broker export work --format j") == {"json"}


def test_completion_without_a_daemon_is_silent_and_starts_none(spawn: Spawn) -> None:
    """A TAB changes nothing."""
    assert completed(spawn, "broker token w") == set()
