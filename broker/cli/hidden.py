"""Secrets that a person types: without echo on a terminal, else from stdin; never from the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final

import click

from broker.errors import BadRequest
from broker.secret import Secret
from broker.storage.homes.passphrase import LENGTH_MIN

_BYTES_MAX: Final = 64 * 1024
_NEW: Final = "New passphrase for what the broker stores"


def ask(what: str, *, twice: bool = False) -> Secret:
    """Ask for `what` (on stderr: stdout is for data), or read stdin to its end and drop one newline there."""
    if sys.stdin.isatty():
        text = click.prompt(what, hide_input=True, confirmation_prompt=twice, err=True, default="", show_default=False)
        return Secret(text)
    raw = sys.stdin.buffer.read(_BYTES_MAX + 1)
    if len(raw) > _BYTES_MAX:
        raise BadRequest(f"stdin: more than {_BYTES_MAX // 1024} KiB is no secret")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise BadRequest("stdin: not text (UTF-8)") from None
    return Secret(text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text)


def passphrase(*, new: bool) -> Secret:
    """Ask for the passphrase of the store; for a `new` one twice, and again while it is too short."""
    if not new:
        return ask("Passphrase")
    typed = ask(_NEW, twice=True)
    while len(typed.reveal()) < LENGTH_MIN and sys.stdin.isatty():
        click.echo(f"{LENGTH_MIN} characters or more, please", err=True)
        typed = ask(_NEW, twice=True)
    return typed


def choose(passphrase: Callable[[bool], Secret]) -> Secret | None:
    """Offer a passphrase where there is no other place for the store's key; None where there is no terminal."""
    if not sys.stdin.isatty():
        return None
    click.echo(
        "There is no keyring here, so what is stored needs a passphrase. You type it again after each start of the"
        " broker (broker unlock); Ctrl-C stores nothing.",
        err=True,
    )
    return passphrase(True)  # noqa: FBT003  # a new one
