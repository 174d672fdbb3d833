"""A real Secret Service: gnome-keyring on a message bus of its own, without a screen."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.real.process import DEADLINE_S

PROGRAMS: Final = ("dbus-run-session", "gnome-keyring-daemon", "secret-tool", "dbus-send")
_INTERFACE: Final = "org.freedesktop.Secret.Service"
_CONTROL_UNLOCK: Final = 1
_UNLOCK: Final = "gnome-keyring-daemon --unlock --components=secrets"
_PASSWORD: Final = "fake-password"


@dataclass(frozen=True, slots=True)
class SecretService:
    """The running service; `env` leads programs to it."""

    env: dict[str, str]

    def store(self, service: str, username: str, secret: str) -> None:
        """Store an entry as a person would, with the desktop's own tool."""
        self._run("secret-tool", "store", "--label=test", "service", service, "username", username, given=secret)

    def read(self, service: str, username: str) -> str:
        """Read an entry as a person would."""
        return self._run("secret-tool", "lookup", "service", service, "username", username)

    def lock(self) -> None:
        """Lock the collection, as signing out or a screen lock may do."""
        service = ["--dest=org.freedesktop.secrets", "/org/freedesktop/secrets"]
        collection = "array:objpath:/org/freedesktop/secrets/collection/login"
        self._run("dbus-send", "--session", "--print-reply", *service, f"{_INTERFACE}.Lock", collection)

    def unlock(self) -> None:
        """Unlock the collection as the sign-in does: the password on gnome-keyring's control socket (pam_gnome_keyring)."""
        password = _PASSWORD.encode()
        message = struct.pack(">III", 12 + len(password), _CONTROL_UNLOCK, len(password)) + password
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(DEADLINE_S)
            control.connect(f"{self.env['XDG_RUNTIME_DIR']}/keyring/control")
            control.sendall(b"\0" + message)  # the first byte carries the peer's credentials
            length, result = struct.unpack(">II", control.recv(8))
        assert (length, result) == (8, 0), f"gnome-keyring did not unlock: result {result}"

    def _run(self, *command: str, given: str = "") -> str:
        done = subprocess.run(
            command, env=self.env, input=given, text=True, check=True, capture_output=True, timeout=DEADLINE_S
        )
        return done.stdout


@contextmanager
def secret_service(folder: Path) -> Iterator[SecretService]:
    """Run it until the block ends, with home and runtime folder inside `folder`."""
    runtime = folder / "runtime"
    runtime.mkdir(mode=0o700)
    env = {"HOME": str(folder), "XDG_RUNTIME_DIR": str(runtime), "PATH": os.environ["PATH"]}
    session = f'printf %s {_PASSWORD} | {_UNLOCK} >/dev/null; echo "$DBUS_SESSION_BUS_ADDRESS"; exec cat'
    bus = subprocess.Popen(
        ["dbus-run-session", "--", "sh", "-c", session],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert bus.stdin is not None
    assert bus.stdout is not None
    try:
        yield SecretService(env | {"DBUS_SESSION_BUS_ADDRESS": bus.stdout.readline().strip()})
    finally:
        bus.stdin.close()  # `cat` ends, and with it the session, its bus and the service; a signal would leave these
        bus.wait(DEADLINE_S)
        bus.stdout.close()
