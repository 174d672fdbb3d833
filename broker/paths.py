"""Where things are: config, state folder and socket."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from broker.errors import ConfigError, UnsafePath

SOCKET_ADDRESS_MAX: Final = 108 if os.uname().sysname == "Linux" else 104
"""Size of `sun_path` in bytes, the closing NUL included (unix(7))."""


def config_path(env: Mapping[str, str] = os.environ) -> Path:
    """Name the config file; it need not exist. Raises `ConfigError` where HOME is no place for it.

    A relative BROKER_CONFIG, as a person types it, is taken from this process's own folder.
    """
    if explicit := env.get("BROKER_CONFIG"):
        return Path(explicit).absolute()
    return _xdg(env, "XDG_CONFIG_HOME", ".config") / "broker" / "config.toml"


def state_dir(env: Mapping[str, str] = os.environ) -> Path:
    """Name the folder for what outlives the daemon; it need not exist. Raises `ConfigError` for a relative one."""
    if explicit := env.get("BROKER_STATE_DIR"):
        return _absolute("BROKER_STATE_DIR", explicit)
    return _xdg(env, "XDG_STATE_HOME", ".local/state") / "broker"


def socket_path(env: Mapping[str, str] = os.environ, uid: int | None = None) -> Path:
    """Name the control socket; raise `ConfigError` where the name cannot be a socket's address."""
    path = _socket_candidate(env, os.geteuid() if uid is None else uid)
    if len(os.fsencode(path)) >= SOCKET_ADDRESS_MAX:
        raise ConfigError(
            [
                f"socket path {path}: longer than a socket address can be ({SOCKET_ADDRESS_MAX} bytes); set a shorter BROKER_SOCKET"
            ]
        )
    return path


def private_folder(folder: Path) -> Path:
    """Make `folder` (0700) where missing and check that nobody else could tamper with what is put there.

    Raises `UnsafePath` when it belongs to somebody else, is a link, or is open to others.
    """
    if not os.path.lexists(folder):
        make_folder(folder)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise UnsafePath(f"{folder}: must be a folder, not a link or file; remove it")
    if found.st_uid != os.geteuid():
        raise UnsafePath(f"{folder}: belongs to uid {found.st_uid}, not to you; choose another folder")
    if found.st_mode & 0o077:
        raise UnsafePath(f"{folder}: open to others (mode {found.st_mode & 0o777:04o}); run: chmod 700 {folder}")
    return folder


def make_folder(folder: Path) -> None:
    """Make `folder`, and what is missing above it, 0700 as the XDG specification has it.

    `mkdir(parents=True)` leaves those above to the umask: with 000 anybody could put another folder in their place.
    """
    if not folder.parent.exists():
        make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)


def _socket_candidate(env: Mapping[str, str], uid: int) -> Path:
    if explicit := env.get("BROKER_SOCKET"):
        return _absolute("BROKER_SOCKET", explicit)
    runtime = env.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/"):
        return Path(runtime) / "broker" / "broker.sock"
    run_user = Path(f"/run/user/{uid}")
    with suppress(OSError):  # not there, or not ours to look at
        if run_user.is_dir() and run_user.stat().st_uid == uid:
            return run_user / "broker" / "broker.sock"
    return state_dir(env) / "broker.sock"


def _xdg(env: Mapping[str, str], name: str, fallback: str) -> Path:
    value = env.get(name, "")
    if value.startswith("/"):  # the XDG specification: relative ones are to be ignored
        return Path(value)
    if home := env.get("HOME"):
        return _absolute("HOME", home) / fallback
    raise ConfigError([f"neither {name} nor HOME is set, so there is no place for the broker's files; set HOME"])


def _absolute(name: str, value: str) -> Path:
    """Refuse a relative path: it would lead into the project's folder, where a stranger may have put a socket or config."""
    if not value.startswith("/"):
        raise ConfigError([f"{name}={value}: must be an absolute path"])
    return Path(value)
