"""What a caller's ancestry and history mean: which session asks, and whether its asking tells of a refusal.

Claude Code runs its helper again before the TTL is over only because upstream refused the token (measured on 2.1.197 and
2.1.330), and so its `awsCredentialExport` before the keys come near their end. That is evidence only where the caller
is certainly one of these; a status line, a hook or a tool may run the same helper as often as it likes, and the AWS SDK inside Claude Code
2.1.197 runs a profile's `credential_process` at every prompt. Pure: the process table comes in as arguments.
"""

from __future__ import annotations

import math
import re
import shlex
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from broker.clock import Now
from broker.model import Process

DOUBT_S: Final = 10.0
"""Right after a session got a newer token, a refusal may still concern the older one; for so long."""

SESSIONS_MAX: Final = 4096
"""Sessions remembered per credential; the one that asked longest ago is forgotten first."""

CHILD: Final = "CLAUDE_CODE_ENTRYPOINT"
"""A variable that Claude Code gives to every program that it starts (measured)."""

ENDLESS_S: Final = 3600.0
"""How long AWS keys without an end are said to live: the SDKs demand one, and then see a change within the hour."""

BURST_S: Final = 2.0
"""Claude Code 2.1.197 may run its `awsCredentialExport` twice when it starts (measured)."""

_AGAIN_S: Final = 360.0
"""Claude Code asks again 5 min before keys expire (measured: of 1 h and of 12 h); a minute more for its clock and ours."""

_EARLY_SLACK_S: Final = 1.0
_SHELLS: Final = frozenset({"sh", "dash", "bash", "ash", "busybox", "zsh", "ksh"})
_RUNTIMES: Final = frozenset({"node", "MainThread", "bun", "deno"})
"""What a process is called that runs Claude Code as a script; newer versions of node name themselves by thread."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9_./@%+=:,~ -]{1,4096}", re.ASCII)
"""A command in which no character means anything to a shell: the usual case, told without parsing."""

_WORDS: Final = 32
"""Arguments of a runtime among which the script is looked for."""

_CONTROL: Final = frozenset(";&|()`")
_COMMAND_MAX: Final = 4096
_CLAUDE: Final = re.compile(
    r"(?:.*/)?(?:claude(?:-code|\.exe)?|\.claude-wrapped|claude/versions/[^/]+|claude-(?:code|agent-sdk)/cli\.[cm]?js)",
    re.DOTALL,
)
"""Its executable under the names that installers give it, or the script that node runs."""

_ADOPTING: Final = frozenset(
    {"systemd", "init", "launchd", "tini", "dumb-init", "docker-init", "catatonit", "conmon", "containerd-shim"}
)
"""Who becomes the parent of programs that outlived theirs."""

Argv = Callable[[int], Sequence[str]]
"""Looks up the arguments of a process by pid; empty where they cannot be read."""


@dataclass(frozen=True, slots=True)
class Session:
    """One run of Claude Code, named by its process; the start time keeps a reused pid apart.

    `exports`: it asks by its `awsCredentialExport`, and not by its `apiKeyHelper`.
    """

    pid: int
    started: int
    exports: bool = False

    def keeps_s(self, ttl_s: float, remaining_s: float) -> float:
        """For how long it keeps what it is given now, which lives for `remaining_s`: `ttl_s` is the helper's."""
        if not self.exports:
            return ttl_s
        return max(0.0, (remaining_s if remaining_s < math.inf else ENDLESS_S) - _AGAIN_S)


def session_of(chain: Sequence[Process], argv: Argv) -> Session | None:
    """Return the Claude Code session whose `apiKeyHelper` (or `awsCredentialExport`) the first of `chain` certainly is.

    The chain must be exactly helper <- one `sh -c` <- Claude Code; a shell that replaces itself by its only
    command (bash, macOS's sh) leaves helper <- Claude Code.
    """
    match chain:
        case [_, shell, claude, *_] if shell.name in _SHELLS:
            if _is_certainly_claude(claude, argv) and _runs_one_command(argv(shell.pid)):
                return Session(claude.pid, claude.started)
        case [_, claude, *_] if _is_certainly_claude(claude, argv):
            return Session(claude.pid, claude.started)
    return None


def is_run_by(commands: Collection[str], chain: Sequence[Process], argv: Argv) -> bool:
    """Whether the first process of a session's `chain` was started by one of these commands, word for word."""
    given = argv(chain[1].pid)
    if chain[1].name in _SHELLS and len(given) == 3:  # noqa: PLR2004  # sh, -c, COMMAND
        return given[2].strip() in {command.strip() for command in commands}
    own = list(argv(chain[0].pid))
    return any(own == _words(command) for command in commands)


def has_variable(environment: bytes | None, name: str) -> bool:
    """Whether a process that was started with `environment` has this variable; False where that is unknown."""
    return environment is not None and f"\0{name}=".encode() in b"\0" + environment


def is_claude(process: Process, argv: Argv) -> bool:
    """Whether this is Claude Code, with or without options of its runtime before it: for who must not miss one."""
    if _CLAUDE.fullmatch(process.name):
        return True
    return may_be_claude(process) and any(_CLAUDE.fullmatch(word) for word in argv(process.pid)[:_WORDS])


def by_its_mark(chain: Iterable[Process], environment: Callable[[int], bytes | None]) -> Process | None:
    """Find a Claude Code that goes by a name of its own, by what it started: that is marked, it itself is not."""
    below = False
    for process in chain:
        given = environment(process.pid)
        marked = has_variable(given, CHILD)
        if below and not marked and given is not None and process.name not in _ADOPTING:
            return process
        below = marked
    return None


def may_be_claude(process: Process) -> bool:
    """Whether Claude Code may be called so: by its own name, its runtime's, or (the installer's way) its version."""
    name = process.name
    return bool(_CLAUDE.fullmatch(name)) or name in _RUNTIMES or name[:1].isdigit()


def _runs_one_command(arguments: Sequence[str]) -> bool:
    """Whether this is `sh -c COMMAND` with a single command: a script that also calls the helper is not."""
    if len(arguments) != 3 or arguments[1] != "-c":  # noqa: PLR2004  # sh, -c, COMMAND
        return False
    command = arguments[2]
    if _PLAIN.fullmatch(command):
        return True
    words = _words(command)
    return words is not None and not any(_CONTROL & set(word) for word in words)


def _words(command: str) -> list[str] | None:
    """Take a command apart as a shell does; None where that cannot be told."""
    if len(command) > _COMMAND_MAX or "\n" in command.strip():
        return None  # shlex takes seconds for what a hostile process can put there, and a new line for a blank
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""  # shlex sees a comment where the shell sees none: x#; y
    try:
        return list(lexer)
    except ValueError:
        return None


def _is_certainly_claude(process: Process, argv: Argv) -> bool:
    """Whether this is Claude Code itself, by its own name or by what it was started as."""
    if _CLAUDE.fullmatch(process.name):
        return True
    return may_be_claude(process) and any(_CLAUDE.fullmatch(argument) for argument in argv(process.pid)[:2])


@dataclass(slots=True)
class _Given:
    serial: int
    at: Now
    ttl_s: float
    changed_at: float | None = None


class History:
    """What each session was last given of one credential."""

    def __init__(self) -> None:
        self._given: OrderedDict[Session, _Given] = OrderedDict()

    def tells_refusal(self, now: Now, session: Session, serial: int) -> bool:
        """Whether this ask of `session`, which would now be given token `serial`, means upstream refused it.

        It does when the session asks before its TTL is over and was last given this very token, except for the
        first such ask shortly after it was given a newer one: that may still be about the older.
        """
        last = self._given.get(session)
        if last is None or last.serial != serial:
            return False
        if session.exports and now.mono - last.at.mono < BURST_S:
            return False
        slack_s = min(_EARLY_SLACK_S, last.ttl_s / 20)  # its clock and ours measure the TTL from different moments
        # It measures by the time of day, so that a clock set forward ends the TTL too: early is only what both call so.
        if max(now.mono - last.at.mono, now.wall - last.at.wall) >= last.ttl_s - slack_s:
            return False
        if last.changed_at is not None and now.mono - last.changed_at < DOUBT_S:
            last.changed_at = None
            return False
        return True

    def given(self, now: Now, session: Session, serial: int, ttl_s: float) -> None:
        """Note what `session` gets, and for how long it will keep it."""
        last = self._given.pop(session, None)
        if last is None:
            changed_at = None
        elif last.serial != serial:
            changed_at = now.mono
        else:
            changed_at = last.changed_at
        self._given[session] = _Given(serial, now, ttl_s, changed_at)
        if len(self._given) > SESSIONS_MAX:
            self._given.popitem(last=False)
