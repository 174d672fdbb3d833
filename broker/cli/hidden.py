"""Secrets that a person types: without echo on a terminal, else from stdin; never from the command line."""

from __future__ import annotations

import sys
from typing import Final

import click

from broker.errors import BadRequest
from broker.secret import Secret

_BYTES_MAX: Final = 64 * 1024


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
    """Ask for the passphrase of the store; for a `new` one twice."""
    return ask("New passphrase for what the broker stores" if new else "Passphrase", twice=new)
