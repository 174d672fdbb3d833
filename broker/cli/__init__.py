"""The command line: one file per command group; parse, call, print, nothing else.

Rules of output: data goes to stdout and everything else to stderr; an error is one line that begins `broker: `;
colour and animation only on a terminal, and no colour with NO_COLOR. A command's module is imported when that
command runs: `broker status` must not pay for the daemon.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Final

import click

from broker import __version__
from broker.errors import BrokerError

COMMANDS: Final = {
    "allow": "trust",
    "audit": "audit.command",
    "completion": "completion",
    "config": "config",
    "demo": "demo.command",
    "deny": "trust",
    "doctor": "doctor.command",
    "env": "env",
    "exec": "env",
    "export": "credentials",
    "import": "import_",
    "lock": "lock",
    "login": "login",
    "logout": "login",
    "refresh": "credentials",
    "restart": "lifecycle",
    "run": "run",
    "secret": "secret",
    "setup": "setup",
    "start": "lifecycle",
    "status": "status.command",
    "stop": "lifecycle",
    "token": "credentials",
    "unlock": "lock",
}
"""Each command, and the module of this package that holds it as `NAME_command` (`-` as `_`)."""

USAGE: Final = 64
IO_ERROR: Final = 74
INTERRUPTED: Final = 130


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for: `modules` names the module of each in this package."""

    def __init__(self, *args: Any, modules: Mapping[str, str], **kwargs: Any) -> None:  # noqa: ANN401  # click's own
        super().__init__(*args, **kwargs)
        self._modules = modules

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Name every command, without importing one."""
        return sorted(self._modules)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        """Import the module that holds this command, as `NAME_command` (`-` as `_`)."""
        if name not in self._modules:
            return None
        module = import_module(f"broker.cli.{self._modules[name]}")
        command: click.Command = getattr(module, f"{name.replace('-', '_')}_command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; for a near miss, say what was probably meant."""
        if args[0] not in self._modules and not ctx.resilient_parsing:
            from difflib import get_close_matches  # noqa: PLC0415  # only for a typing error

            for near in get_close_matches(args[0], self._modules, n=1):
                ctx.fail(f"no such command: {args[0]}; did you mean {near}?")
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, modules=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="broker", message="%(prog)s %(version)s")
def cli() -> None:
    """Keep Claude Code's API key fresh.

    A daemon holds every credential and renews it ahead of time; the tiny `broker-helper`, Claude Code's
    apiKeyHelper, hands it out in a millisecond.

    \b
    Begin here:
      broker demo                   see it work, with nothing left behind
      broker secret set anthropic   store a key, typed at a prompt
      broker setup claude-code      have Claude Code ask for it
      broker status                 see how everything is
      broker doctor                 find what is wrong, and how to mend it
    """  # noqa: D301  # \b is click's mark for "do not rewrap"


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: those of `broker.errors`, which the helper has too."""
    if sys.stdin is None:  # closed by the caller: as good as empty
        sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115  # it lives as long as the process
    if sys.stdout is None:  # closed by the caller, `broker status --check >&-`: the exit code is what it wants
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  # it lives as long as the process
    if sys.stderr is None:  # else the next file that is opened, a lock or the cache, would be descriptor 2
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  # it lives as long as the process
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="replace")  # a name that a Latin-1 terminal cannot show is no reason to fail
    return _written(_invoke(args))


def _written(code: int) -> int:
    """Write out what stdout still holds; return `code`, or what the failure to write means."""
    try:
        sys.stdout.flush()
    except OSError as error:
        # It still holds that, and Python would complain once more when it closes it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return 1  # the reader (`| head`) has enough
        if code != IO_ERROR:  # else it was said when the command itself failed to write
            _complain(f"stdout: {error.strerror or error}")
        return IO_ERROR
    return code


def _invoke(args: Sequence[str] | None) -> int:
    try:
        result = cli.main(None if args is None else list(args), prog_name="broker", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:  # `broker` alone: a page to read, not an error in one line
        click.echo(error.format_message(), err=True)
    except click.ClickException as error:
        _complain(_one_line(error))
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokerError as error:
        _complain(str(error))
        return error.exit_code
    except BrokenPipeError:
        return 1
    except OSError as error:  # a full disk, a folder that may not be written: no bug, so no traceback
        _complain(f"{error.filename or 'the system'}: {error.strerror or error}")
        return IO_ERROR
    else:
        return result if isinstance(result, int) else 0
    return USAGE


def _one_line(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    hint = f"; see: {context.command_path} --help" if context else ""
    return " ".join(error.format_message().rstrip(".").split()) + hint


def _complain(message: str) -> None:
    from broker.cli.output import printable  # noqa: PLC0415  # only when something is wrong

    for line in message.splitlines():
        click.echo(f"broker: {printable(line)}", err=True)
