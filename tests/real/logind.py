"""A make-believe logind on a message bus of its own: a real dbus-daemon, and the few calls and signals that matter."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from jeepney import DBusAddress, HeaderFields, MessageType, message_bus, new_error, new_method_return, new_signal
from jeepney.io.blocking import DBusConnection, open_dbus_connection
from jeepney.wrappers import unwrap_msg

from tests.real.process import DEADLINE_S

NAME: Final = "org.freedesktop.login1"
ROOT: Final = "/org/freedesktop/login1"
SESSION: Final = "org.freedesktop.login1.Session"


@dataclass(slots=True)
class FakeLogind:
    """Answers and emits. `inhibited`: our ends of the delay locks that were given out; `uids`: whose each session is."""

    address: str
    connection: DBusConnection
    inhibited: list[int] = field(default_factory=list)
    uids: dict[str, int] = field(default_factory=dict)
    allows_delay: bool = True
    asked: list[str] = field(default_factory=list)

    def sleep(self, *, starts: bool) -> None:
        """Say that the machine goes to sleep, or woke up."""
        self._emit(ROOT, "org.freedesktop.login1.Manager", "PrepareForSleep", "b", (starts,))

    def lock_session(self, session: str) -> None:
        """Do what `loginctl lock-session` does."""
        self._emit(f"{ROOT}/session/{session}", SESSION, "Lock", "", ())

    def hint(self, session: str, *, locked: bool) -> None:
        """Say what the desktop says once its screen is locked."""
        changed: tuple[Any, ...] = (SESSION, {"LockedHint": ("b", locked)}, [])
        path = f"{ROOT}/session/{session}"
        self._emit(path, "org.freedesktop.DBus.Properties", "PropertiesChanged", "sa{sv}as", changed)

    def waits_for_us(self) -> bool:
        """Whether a suspend is held up: is somebody holding the last delay lock?"""
        os.set_blocking(self.inhibited[-1], False)
        try:
            return os.read(self.inhibited[-1], 1) != b""
        except BlockingIOError:
            return True

    def serve(self) -> None:
        """Answer, until the connection ends."""
        with suppress(OSError):
            while True:
                message = self.connection.receive()
                if message.header.message_type is MessageType.method_call:
                    self._answer(message)

    def _answer(self, message: Any) -> None:  # noqa: ANN401  # jeepney has no types
        member = message.header.fields[HeaderFields.member]
        self.asked.append(member)
        if member == "Inhibit" and self.allows_delay:
            ours, theirs = os.pipe()
            self.inhibited.append(ours)
            self.connection.send(new_method_return(message, "h", (theirs,)))
            os.close(theirs)
        elif member == "Get":
            session = message.header.fields[HeaderFields.path].rpartition("/")[2]
            user = (self.uids.get(session, os.getuid()), f"{ROOT}/user/_1")
            self.connection.send(new_method_return(message, "v", (("(uo)", user),)))
        else:
            self.connection.send(new_error(message, "org.freedesktop.DBus.Error.AccessDenied", "s", ("no",)))

    def _emit(self, path: str, interface: str, member: str, signature: str, body: tuple[Any, ...]) -> None:
        self.connection.send(new_signal(DBusAddress(path, interface=interface), member, signature, body))


@contextmanager
def bus() -> Iterator[str]:
    """Run a dbus-daemon until the block ends; give its address."""
    command = ["dbus-daemon", "--session", "--nofork", "--print-address"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout is not None
        try:
            yield daemon.stdout.readline().strip()
        finally:
            daemon.terminate()
            daemon.wait(DEADLINE_S)


@contextmanager
def fake_logind(address: str) -> Iterator[FakeLogind]:
    """Serve logind's name on that bus until the block ends."""
    connection = open_dbus_connection(bus=address, enable_fds=True)
    assert unwrap_msg(connection.send_and_get_reply(message_bus.RequestName(NAME))) == (1,)
    logind = FakeLogind(address, connection)
    thread = threading.Thread(target=logind.serve)
    thread.start()
    try:
        yield logind
    finally:
        with suppress(OSError):
            connection.sock.shutdown(2)
        thread.join()
        connection.close()
        for descriptor in logind.inhibited:
            os.close(descriptor)
