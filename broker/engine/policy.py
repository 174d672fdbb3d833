"""May this caller have a token? Puts together what its helper tells, what the kernel shows and what files say.

Pure: the shell round it (`service/guard.py`) asks the kernel and reads the files.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from broker import audience
from broker.engine.callers import CHILD, has_variable
from broker.engine.destination import Known, Pins, SettingsFile, Verdict, flags, judge
from broker.engine.destination.judgement import shown
from broker.engine.destination.known import Variables
from broker.engine.destination.names import intercepting
from broker.errors import Refused
from broker.model import Kind

_MOVED: Final = "CLAUDE_CONFIG_DIR"
_EXACT: Final = frozenset({_MOVED, "CLAUDECODE", "CLAUDE_CODE_IGNORE_PERSISTED_TRUST"})
_SHOWN_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Told:
    """What a helper says of its surroundings (the headers `X-Broker-Cwd` and `X-Broker-Env`).

    `folder` is None where it cannot say; a variable's value None where it only says that it is set.
    """

    folder: str | None
    variables: tuple[tuple[str, str | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Shown:
    """What the kernel shows of a process; None or empty what it does not."""

    pid: int
    folder: str | None
    environment: bytes | None
    arguments: tuple[str, ...] = ()
    apart: bool = False
    """Paths may lead it elsewhere than us."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where to look for the settings of one Claude Code; all paths absolute.

    `folders`: where it works. `homes`: where its user's settings are; `own`: the only one of these of which it is
    certain that no project picked it. `flag`: the file that `--settings` names.
    `view`: where paths may lead it elsewhere than us, its folder by way of the process: must be the first of `folders`.
    """

    folders: tuple[str, ...]
    homes: tuple[str, ...]
    flag: str | None = None
    view: str | None = None
    own: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """All that is known of one Claude Code but the content of its files; compared by identity, made once."""

    place: Place
    live: Variables | None
    initial: Variables | None
    arguments: tuple[str, ...]
    certain: bool
    """Whether a Claude Code is known to be there; else it may be a person's own ask, which goes nowhere."""


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The settings files of one place and what a person allowed of them; compared by identity, made once a change."""

    files: tuple[SettingsFile, ...] = ()
    pins: Pins = frozenset()


@lru_cache(maxsize=256)
def surroundings(told: Told | None, caller: Shown | None, claude: Shown | None, home: str) -> Surroundings:
    """Put together who asks from where. `home` is the user's home folder.

    `told` is None for a caller that is no helper, `caller` for one that the kernel cannot name (a container's).
    Raises `Refused` where they contradict each other, or leave open what must be known.
    """
    if told is not None and caller is not None:
        _compare(told, caller)
    folders = _folders(told, caller, claude)
    initial = None if claude is None else variables(claude.environment)
    seen = None if caller is None else variables(caller.environment)
    live = None if told is None else _live(told, caller)
    own = _user_folder(folders[0], home, initial or {})
    homes = tuple(dict.fromkeys(_homes(folders[0], home, live, initial, seen)))
    arguments = claude.arguments if claude is not None else ()
    flag = flags(arguments)
    named = posixpath.join(folders[0], flag.settings) if flag.settings is not None and not flag.is_text else None
    consumer = claude or caller
    apart = consumer is not None and consumer.apart and consumer.folder is not None
    view = f"/proc/{consumer.pid}/cwd" if consumer is not None and apart else None
    place = Place(folders, homes, named, view, own if own in homes else None)
    certain = claude is not None or caller is None or has_variable(caller.environment, CHILD)
    return Surroundings(place, live, initial, arguments, certain)


@lru_cache(maxsize=256)
def verdict(around: Surroundings, found: Found, bases: tuple[str, ...], kind: Kind, *, as_key: bool = True) -> Verdict:
    """Say whether a token of a credential with the audience `bases` (empty: its kind's own) may go there.

    `as_key`: the caller gets a text that may be Claude Code's API key, which it sends to whichever provider it is on.
    Otherwise it is sent, or signs, only where a provider takes this kind by itself: keys of AWS's only on Bedrock, say,
    so that a Claude Code on another provider may well run programs that use them.
    """
    own = audience.default(kind)
    wanted = bases or own
    if not around.certain:  # nobody names a destination, so there is none: a person asks by the helper
        wanted = (*wanted, *own)
    folder = around.place.folders[0]
    known = Known(folder, found.files, live=around.live, initial=around.initial, arguments=around.arguments)
    return judge(known, wanted, found.pins, None if as_key and kind is not Kind.AWS_SESSION else kind)


def steers(name: str) -> bool:
    """Whether a helper tells of this variable (helper/steering.c)."""
    if name.startswith("ANTHROPIC_"):
        return name.endswith("_URL")
    return name in _EXACT or name.startswith(("CLAUDE_CODE_USE_", "CLAUDE_CODE_SKIP_"))


@lru_cache(maxsize=64)
def variables(environment: bytes | None) -> Mapping[str, str] | None:
    """Take an environment apart; of a name that is there twice the first counts, as getenv(3) has it."""
    if environment is None:
        return None
    found: dict[str, str] = {}
    for entry in environment.decode(errors="surrogateescape").split("\0"):
        name, equals, value = entry.partition("=")
        if equals:
            found.setdefault(name, value)
    return found


def _compare(told: Told, caller: Shown) -> None:
    """Refuse a helper whose word is not the kernel's: somebody may speak for it."""
    if told.folder is not None and caller.folder is not None and told.folder != caller.folder:
        its, true = shown(told.folder[:_SHOWN_MAX]), shown(caller.folder[:_SHOWN_MAX])
        raise Refused(f"the helper says that it works in {its}, but the kernel says {true}")
    seen = variables(caller.environment)
    if seen is None:
        return
    said = dict(told.variables)
    for name in sorted({*said, *filter(steers, seen)}):
        if name not in said or name not in seen or said[name] not in {None, seen[name]}:
            raise Refused(
                f"the helper says something else of its variable {shown(name[:_SHOWN_MAX])} than the kernel does"
            )


def _live(told: Told, caller: Shown | None) -> Variables:
    """Take what steers from the kernel where it shows it: a helper leaves out long values."""
    if caller is None or caller.environment is None:
        return dict(told.variables)
    return _steering(caller.environment)


@lru_cache(maxsize=64)
def _steering(environment: bytes) -> Variables:
    seen = variables(environment) or {}
    return {name: value for name, value in seen.items() if steers(name) or intercepting(name, value)}


def _folders(told: Told | None, caller: Shown | None, claude: Shown | None) -> tuple[str, ...]:
    """Say where Claude Code works, and where its helper does if that is elsewhere."""
    shown = caller.folder if caller is not None else None
    helper = None if told is None else told.folder or shown
    found = [folder for folder in (claude.folder if claude is not None else None, helper) if folder is not None]
    if not found:
        who = f"Claude Code (pid {claude.pid})" if claude is not None else "the caller"
        raise Refused(
            f"cannot see in which folder {who} works, so its settings cannot be checked; ask through broker-helper"
        )
    if any(not folder.startswith("/") for folder in found):
        raise Refused("the working folder is not an absolute path, so its settings cannot be checked")
    return tuple(dict.fromkeys(found))


def _homes(
    folder: str, home: str, live: Variables | None, initial: Variables | None, seen: Variables | None
) -> Sequence[str]:
    """Say where the user's settings are: what Claude Code was started with counts, and what its helper sees.

    The helper's word alone makes no folder the user's: a project that moves CLAUDE_CONFIG_DIR to its own `.claude`
    would have its settings taken for the user's, who may say anything.
    """
    if live is not None and live.get(_MOVED, "") is None:
        raise Refused(f"{_MOVED} is too long to be checked; set a shorter one")
    moved = [posixpath.join(folder, at) for said in (seen or {}, live or {}) if (at := said.get(_MOVED))]
    if initial is None and moved:
        return moved
    return [_user_folder(folder, home, initial if initial is not None else seen or {}), *moved]


def _user_folder(folder: str, home: str, said: Variables) -> str:
    """Name the folder of the user's settings by these variables, as Claude Code does."""
    moved = said.get(_MOVED)
    return posixpath.join(folder, moved or posixpath.join(said.get("HOME") or home, ".claude"))
