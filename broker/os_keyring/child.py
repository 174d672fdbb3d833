"""The child process that talks to the keyring: requests as JSON on stdin, one answer as JSON on stdout."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from broker import platform
from broker.os_keyring import has_settings

_REQUEST_MAX: Final = 1 << 20
_UNPROTECTED: Final = ("keyring.backends.null", "keyrings.alt")
"""Keep entries nowhere, or in a file that anybody with the disk can read: no home for a key."""


class Unprotected(Exception):
    """The only keyring keeps its entries in the open; the message names it."""


def main() -> None:
    """Answer once."""
    platform.current().harden()  # while it lives, a key is in its memory
    asked = json.loads(sys.stdin.buffer.read(_REQUEST_MAX))
    signal.alarm(math.ceil(asked["timeout_s"]) + 1)  # nobody else ends us when the daemon is gone by then
    answer = respond(asked["requests"], only_protected=asked["only_protected"])
    sys.stdout.write(json.dumps(answer))


def respond(requests: list[list[str]], *, only_protected: bool) -> dict[str, Any]:
    """Run every request; `values`, or the `trouble` that the first failing one met and `what` it was."""
    try:
        backend = protecting() if only_protected else chosen()
    except ImportError:
        return {"trouble": "missing"}
    except Unprotected as error:
        return {"trouble": "unprotected", "what": str(error)}
    return _run(backend, requests)


def _run(backend: Any, requests: list[list[str]]) -> dict[str, Any]:  # noqa: ANN401  # the library's classes are untyped
    from keyring import errors  # noqa: PLC0415  # loaded by now

    try:
        return {"values": [_OPERATIONS[verb](backend, *words) for verb, *words in requests]}
    except errors.NoKeyringError:
        return {"trouble": "none"}
    except errors.KeyringLocked:
        return {"trouble": "locked"}
    except Exception as error:  # noqa: BLE001  # backends raise anything
        # By type only: what a backend writes into its message is not ours to vouch for.
        return {"trouble": "failed", "what": type(error).__name__}


def chosen() -> Any:  # noqa: ANN401  # the library's classes are untyped
    """Return the backend that the library chooses."""
    import keyring  # noqa: PLC0415  # a missing library is answered, not crashed on

    return keyring.get_keyring()


def protecting() -> Any:  # noqa: ANN401  # see `chosen`
    """Return the backend, or the first of a chain of them, that protects what it keeps. Raises `Unprotected`."""
    backend = _usual() or chosen()
    members = getattr(backend, "backends", [backend])
    for member in members:
        if not type(member).__module__.startswith(_UNPROTECTED):
            return member
    if not members:  # a chain of none would forget what it is given, without a word
        from keyring.backends import fail  # noqa: PLC0415  # loaded by now

        return fail.Keyring()  # type: ignore[no-untyped-call]  # as the library has it
    raise Unprotected(type(backend).__module__)


def _usual() -> Any:  # noqa: ANN401  # see `chosen`
    """Return what the library would choose on most Linux desktops, in a third of the time: the start waits for it."""
    if sys.platform != "linux" or "PYTHON_KEYRING_BACKEND" in os.environ or has_settings():
        return None
    from keyring.backends import SecretService  # noqa: PLC0415  # late: other systems have no use for it

    with suppress(Exception):  # whatever it says then, the library's own way decides
        if SecretService.Keyring.priority > 0:
            return SecretService.Keyring()  # type: ignore[no-untyped-call]  # as the library has it
    return None


def _get(backend: Any, service: str, username: str) -> str | None:  # noqa: ANN401  # see `chosen`
    value: str | None = backend.get_password(service, username)
    return value


def _set(backend: Any, service: str, username: str, value: str) -> str | None:  # noqa: ANN401  # see `chosen`
    backend.set_password(service, username, value)
    return value


def _add(backend: Any, service: str, username: str, value: str) -> str | None:  # noqa: ANN401  # see `chosen`
    if (found := _get(backend, service, username)) is not None:
        return found
    backend.set_password(service, username, value)
    return _get(backend, service, username)  # not `value`: another daemon may have been quicker


_OPERATIONS: Final[dict[str, Callable[..., str | None]]] = {"get": _get, "set": _set, "add": _add}

if __name__ == "__main__":
    main()
