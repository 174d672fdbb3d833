"""The operating system's keyring, asked in a short-lived child process.

Not in this process: the keyring library and what it loads would stay in the daemon's memory for good (12 MB), and a
backend that waits for a person can only be ended with the process that it waits in.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from broker.errors import BrokerError
from broker.secret import Secret

_MODULE: Final = "broker.os_keyring.child"
_BUS: Final = "DBUS_SESSION_BUS_ADDRESS"
_PASSED_ON: Final = frozenset(
    {
        "HOME", "PATH", "USER", "LOGNAME", "LANG", "LC_ALL",
        "DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME",
        "XDG_CURRENT_DESKTOP", "XDG_SESSION_TYPE", "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY",
        "PYTHON_KEYRING_BACKEND",
    }
)  # fmt: skip
"""What backends need to find the person's desktop session and settings."""


NONE: Final = "this system has no keyring that works"
"""How the message begins where a keyring was looked for and none found."""

_NONE: Final = f"{NONE}; install one (on Linux: gnome-keyring or KWallet, in a desktop session)"


class KeyringTrouble(BrokerError):
    """The keyring gave no answer; the message says why and what mends it."""


class NoKeyring(KeyringTrouble):
    """This system has no keyring or library for one, or none that protects what is in it."""


class KeyringLocked(KeyringTrouble):
    """It is locked, and nobody unlocked it in time."""


class KeyringFailed(KeyringTrouble):
    """It, or the library, does not work."""


Request = tuple[str, ...]


def get(service: str, username: str) -> Request:
    """Read an entry."""
    return ("get", service, username)


def put(service: str, username: str, value: Secret) -> Request:
    """Write an entry."""
    return ("set", service, username, value.reveal())


def add(service: str, username: str, value: Secret) -> Request:
    """Write an entry if there is none; either way read what is there now."""
    return ("add", service, username, value.reveal())


def ask(requests: Sequence[Request], timeout_s: float, *, only_protected: bool = False) -> list[Secret | None]:
    """Run the requests one after the other, and return what each entry holds then. Blocks, at most `timeout_s`.

    `only_protected` rules out keyrings that are a mere file. Raises a `KeyringTrouble`.
    """
    if only_protected and _is_headless():
        raise NoKeyring(f"{_NONE}, or restart the daemon from the desktop session: broker restart")
    request = {"requests": requests, "only_protected": only_protected, "timeout_s": timeout_s}
    answer = _talk(json.dumps(request).encode(), timeout_s)
    match answer:
        case {"values": [*values]} if len(values) == len(requests):
            return [None if value is None else Secret(str(value)) for value in values]
        case {"trouble": "none"}:
            raise NoKeyring(_NONE)
        case {"trouble": "unprotected", "what": what}:
            raise NoKeyring(f"this system's keyring ({what}) keeps its entries unprotected; install a real one")
        case {"trouble": "locked"}:
            raise _locked()
        case {"trouble": "missing"}:
            raise NoKeyring("the keyring library cannot be loaded; run: pip install --force-reinstall keyring")
        case {"what": what}:
            raise KeyringFailed(f"the keyring failed ({what}); see: keyring diagnose")
    raise KeyringFailed("the keyring failed without a word; see: keyring diagnose")


def _talk(request: bytes, timeout_s: float) -> object:
    # Without PYTHON* variables and the current folder: a project could put a module of its own in the way. But with
    # the user's site-packages: the broker itself may be installed there.
    argv = [sys.executable, "-E", "-P", "-m", _MODULE]
    try:
        done = subprocess.run(
            argv,
            input=request,  # over a pipe: everybody can read a command line
            env=_environment(),
            cwd="/",
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=timeout_s,
            start_new_session=True,  # no terminal for a backend to ask its questions on
            check=False,
        )
        answer: object = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise _locked() from None
    except OSError as error:
        raise KeyringFailed(f"{sys.executable} cannot be started to ask the keyring ({error.strerror})") from None
    except ValueError:
        return None
    return answer


def _environment() -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if name in _PASSED_ON}
    bus = Path(env.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}", "bus")
    if _BUS not in env and bus.is_absolute() and bus.is_socket():
        env[_BUS] = f"unix:path={bus}"  # where D-Bus' own libraries look; Python's does not
    return env


def _is_headless() -> bool:
    """Whether this is Linux without a message bus: no desktop's keyring can be there, so spare the look for one."""
    if sys.platform != "linux" or "PYTHON_KEYRING_BACKEND" in os.environ or has_settings():
        return False
    return _BUS not in _environment()


def has_settings() -> bool:
    """Whether the person chose a backend in keyring's own settings file."""
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")  # noqa: PTH111  # Path.expanduser raises
    return os.access(Path(config, "python_keyring", "keyringrc.cfg"), os.F_OK)  # False also where we may not look


def _locked() -> KeyringLocked:
    return KeyringLocked("the keyring is locked or does not answer; unlock it (sign in to the desktop session)")
