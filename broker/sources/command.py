"""`command`: any program that prints a credential."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from broker.durations import Duration
from broker.errors import TransientFetchError
from broker.model import Issued
from broker.sources import answer, process, program
from broker.sources.blocking import Blocking
from broker.sources.complaint import last_line
from broker.sources.env import VARIABLE
from broker.sources.inputs import Inputs
from broker.sources.interface import Fetcher, SourceType

_PASSED_ON: Final = (
    "HOME",
    "PATH",
    "USER",
    "LOGNAME",
    "LANG",
    "TZ",
    "TMPDIR",
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "DBUS_SESSION_BUS_ADDRESS",
    "SSH_AUTH_SOCK",
)
_TIMEOUT: Final = Duration(30)
_KILL_GRACE_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class CommandSourceSettings:
    """`env`: names of variables passed on beside the usual ones; `timeout` in seconds."""

    env: tuple[str, ...] = ()
    timeout: Duration = _TIMEOUT

    def __post_init__(self) -> None:
        if not all(VARIABLE.fullmatch(name) for name in self.env):
            raise ValueError('env is a list of variables\' names, such as ["OP_ACCOUNT"], without values')


@dataclass(frozen=True, slots=True)
class CommandSettings:
    """`argv` and how to read what it prints (`answer.Shape`); the program's path is resolved and checked here."""

    argv: tuple[str, ...]
    format: answer.Format = "auto"
    token_field: str | None = None
    expires_field: str | None = None

    def __post_init__(self) -> None:
        if not self.argv:
            raise ValueError('argv must name a program, such as ["op", "read", "op://vault/item/field"]')
        if any("\0" in word for word in self.argv):
            raise ValueError("argv must not contain NUL characters")
        for path in (self.token_field, self.expires_field):
            if path is not None and (self.format == "text" or not answer.is_path(path)):
                raise ValueError('token_field and expires_field are names joined by dots, and need format = "json"')
        try:
            object.__setattr__(self, "argv", (program.resolve(self.argv[0]), *self.argv[1:]))
        except ValueError as error:
            raise ValueError(f"argv: item 1: {error}") from None


@dataclass(frozen=True, slots=True)
class CommandSource:
    """What all credentials of one `[sources.NAME]` share."""

    settings: CommandSourceSettings

    def fetcher(self, settings: CommandSettings, _credential: str) -> Fetcher:
        """Bind one command."""
        return CommandFetcher(self.settings, settings)

    async def close(self) -> None:
        """Nothing was borrowed."""


@dataclass(frozen=True, slots=True)
class CommandFetcher:
    """Runs the program at each fetch. Its failures count as transient: what it talks to may come back.

    `served`: see `answer.token`.
    """

    source: CommandSourceSettings
    settings: CommandSettings
    served: bool = True
    _thread: Blocking = field(default_factory=lambda: Blocking("command"), compare=False)
    _inputs: Inputs = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_inputs", Inputs(self.settings.argv[0]))

    @property
    def timeout_s(self) -> float:
        """Its own time-out comes first and says more."""
        return self.source.timeout + _KILL_GRACE_S

    async def fetch(self) -> Issued:
        """Run it and read its output; when cancelled, it is killed with its children."""
        stop = threading.Event()
        finished = await self._thread.run(lambda: self._run(stop), stop=stop.set)
        if finished.returncode != 0:
            raise self._failure(finished)
        settings = self.settings
        shape = answer.Shape(settings.format, settings.token_field, settings.expires_field, self.served)
        try:
            return answer.read(finished.stdout, shape, time.time())
        except answer.BadAnswer as bad:
            raise TransientFetchError(f"{self._name}: its output is no credential: {bad}") from None

    def changed(self) -> bool:
        """Notice that the program was replaced (a new version, a mended script)."""
        return self._inputs.changed()

    @property
    def _name(self) -> str:
        return Path(self.settings.argv[0]).name

    def _run(self, stop: threading.Event) -> process.Finished:
        self._inputs.note()
        try:
            return process.run(self.settings.argv, self._env(), self.source.timeout, stop)
        except process.TimedOut:
            raise TransientFetchError(
                f"{self._name}: no answer within {self.source.timeout:g} s, so it was killed (the source's timeout)"
            ) from None
        except process.TooMuchOutput:
            raise TransientFetchError(
                f"{self._name}: printed more than {process.OUTPUT_MAX // 1024} KiB, so it was killed"
            ) from None
        except process.Stopped:
            raise TransientFetchError(f"{self._name}: stopped") from None
        except OSError as error:
            raise TransientFetchError(f"{self._name}: cannot be started ({error.strerror})") from None

    def _env(self) -> dict[str, str]:
        return passed_on(*self.source.env)

    def _failure(self, finished: process.Finished) -> TransientFetchError:
        if finished.returncode < 0:
            how = f"killed by {_signal_name(-finished.returncode)}"
        else:
            how = f"exit status {finished.returncode}"
        passed = [os.environ[name] for name in self.source.env if name in os.environ]
        said = last_line(finished.stderr, finished.stdout, passed)
        return TransientFetchError(f"{self._name}: {how}" + (f": {said}" if said else ""))


def passed_on(*others: str) -> dict[str, str]:
    """Pass on what programs need to find their own settings and agents, and nothing that may be a secret."""
    names = {*_PASSED_ON, *others, *(name for name in os.environ if name.startswith("LC_"))}
    return {name: os.environ[name] for name in names if name in os.environ}


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


COMMAND: Final = SourceType(
    "command", CommandSourceSettings, CommandSettings, lambda settings, _context: CommandSource(settings)
)
