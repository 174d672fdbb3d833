"""Suspend and screen lock, as logind tells on the system bus (org.freedesktop.login1(5)).

In a thread of its own with a blocking connection: the delay lock that holds up a suspend is a descriptor, which
jeepney hands over on blocking connections only.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Collection
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:  # loaded in the thread, where somebody wants it
    from jeepney.io.blocking import DBusConnection
    from jeepney.low_level import Message

log = logging.getLogger(__name__)

SUSPEND: Final = "suspend"
SCREEN_LOCK: Final = "screen-lock"

_LOGIND: Final = "org.freedesktop.login1"
_MANAGER: Final = "org.freedesktop.login1.Manager"
_SESSION: Final = "org.freedesktop.login1.Session"
_PROPERTIES: Final = "org.freedesktop.DBus.Properties"
_ROOT: Final = "/org/freedesktop/login1"

_CALL_S: Final = 5.0
_AGAIN_S: Final = 30.0
"""How long to wait after the bus was lost, or was not there, before it is tried again."""


class Logind:
    """Calls `lock(reason)`, from its thread, at each of the `events`; a suspend waits until that returns.

    `lock` returns within seconds: logind waits for five by default.
    """

    def __init__(self, events: Collection[str], lock: Callable[[str], None]) -> None:
        self._events = frozenset(events)
        self._lock = lock
        self._stop = threading.Event()
        self._connection: DBusConnection | None = None
        self.problem: str | None = None

    def start(self) -> None:
        """Begin to listen; the thread ends with `stop` or with the process."""
        threading.Thread(target=self._run, name="logind", daemon=True).start()

    def stop(self) -> None:
        """Listen no more."""
        self._stop.set()
        connection = self._connection
        if connection is not None:
            with suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)  # wakes the thread

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._listen()
            except Exception as error:  # noqa: BLE001  # whatever ails the bus, the daemon goes on, and says so
                if not self._stop.is_set():
                    self.problem = f"{type(error).__name__}: {error}"
                    log.info("logind cannot be heard: %s", self.problem)
            self._stop.wait(_AGAIN_S)

    def _listen(self) -> None:
        from jeepney.io.blocking import open_dbus_connection  # noqa: PLC0415  # only where somebody wants it

        with ExitStack() as stack:
            connection = open_dbus_connection(bus="SYSTEM", enable_fds=True)
            stack.callback(connection.close)
            self._connection = connection
            _Listening(connection, self._events, self._lock, stack).forever(self._heard)

    def _heard(self) -> None:
        self.problem = None


class _Listening:
    """One connection's time."""

    def __init__(
        self, connection: DBusConnection, events: frozenset[str], lock: Callable[[str], None], stack: ExitStack
    ) -> None:
        self._connection = connection
        self._events = events
        self._lock = lock
        self._stack = stack
        self._signals: deque[Message] = deque()
        self._delay: int | None = None
        stack.callback(self._release)

    def forever(self, ready: Callable[[], None]) -> None:
        """Subscribe, say so, and obey every signal until the connection ends."""
        if SCREEN_LOCK in self._events:
            self._subscribe(_SESSION, "Lock")
            self._subscribe(_PROPERTIES, "PropertiesChanged")
        if SUSPEND in self._events:
            self._subscribe(_MANAGER, "PrepareForSleep")
            self._delay_sleep()  # last: who sees that we hold up a suspend may rely on all the rest
        ready()
        while True:
            self._obey(self._connection.recv_until_filtered(self._signals))

    def _obey(self, signal: Message) -> None:
        from jeepney import HeaderFields  # noqa: PLC0415  # see above

        fields = signal.header.fields
        if not self._is_from_logind(fields.get(HeaderFields.sender)):
            return
        member, path = fields.get(HeaderFields.member), fields.get(HeaderFields.path, "")
        if member == "PrepareForSleep":
            self._sleep(starts=signal.body[0] is True)
        elif (member == "Lock" or _says_locked(signal.body)) and self._is_our_session(path):
            self._lock("the screen was locked")

    def _sleep(self, *, starts: bool) -> None:
        if not starts:
            self._delay_sleep()
            return
        self._lock("the machine goes to sleep")
        self._release()

    def _delay_sleep(self) -> None:
        """Hold up the next suspend until the secrets are out of memory: what sleeps on a disk could be read there."""
        from jeepney.wrappers import DBusErrorResponse  # noqa: PLC0415  # see above

        if self._delay is not None:
            return
        with suppress(DBusErrorResponse):  # not allowed to: then the lock races with the suspend
            arguments = ("sleep", "Claude credential broker", "drops secrets from memory", "delay")
            self._delay = self._call(_ROOT, _MANAGER, "Inhibit", "ssss", arguments)[0].to_raw_fd()

    def _release(self) -> None:
        if self._delay is not None:
            os.close(self._delay)
            self._delay = None

    def _is_from_logind(self, sender: str | None) -> bool:
        """Whether it is logind that says so: any user may send a signal straight to us, past our match rules."""
        from jeepney import message_bus  # noqa: PLC0415  # see above

        return sender is not None and self._reply(message_bus.GetNameOwner(_LOGIND))[0] == sender

    def _is_our_session(self, path: str) -> bool:
        uid, _user = self._call(path, _PROPERTIES, "Get", "ss", (_SESSION, "User"))[0][1]
        return bool(uid == os.getuid())

    def _subscribe(self, interface: str, member: str) -> None:
        from jeepney import MatchRule, message_bus  # noqa: PLC0415  # see above

        rule = MatchRule(type="signal", sender=_LOGIND, interface=interface, member=member)
        arriving = MatchRule(type="signal", interface=interface, member=member)  # with its sender's unique name
        self._stack.enter_context(self._connection.filter(arriving, queue=self._signals))
        self._reply(message_bus.AddMatch(rule))

    def _call(self, path: str, interface: str, method: str, signature: str, body: tuple[str, ...]) -> Any:  # noqa: ANN401  # whatever D-Bus holds
        from jeepney import DBusAddress, new_method_call  # noqa: PLC0415  # see above

        address = DBusAddress(path, bus_name=_LOGIND, interface=interface)
        return self._reply(new_method_call(address, method, signature, body))

    def _reply(self, message: Message) -> Any:  # noqa: ANN401  # whatever D-Bus holds
        from jeepney.wrappers import unwrap_msg  # noqa: PLC0415  # see above

        return unwrap_msg(self._connection.send_and_get_reply(message, timeout=_CALL_S))


def _says_locked(body: Any) -> bool:  # noqa: ANN401  # whatever D-Bus holds
    """Whether this is PropertiesChanged of a session whose screen is locked now."""
    if len(body) != 3 or body[0] != _SESSION:  # noqa: PLR2004  # interface, changed, invalidated
        return False
    return body[1].get("LockedHint", ("b", False))[1] is True
