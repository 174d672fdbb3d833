"""The daemon: builds everything from the config, listens, obeys signals, and leaves in order."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from broker import __version__, config, locks, paths, platform
from broker.clock import SystemClock
from broker.config import Config
from broker.endpoints import server
from broker.endpoints.aws import AwsFace
from broker.endpoints.connections import Connections
from broker.endpoints.control import audit as audit_calls
from broker.endpoints.control.arrivals import Arrivals
from broker.endpoints.control.calls import create_app
from broker.endpoints.control.consumers import ConsumerCalls
from broker.endpoints.control.helper_asks import HelperAsks
from broker.endpoints.control.middleware import CONNECTIONS
from broker.endpoints.faces import Faces
from broker.endpoints.gcp import MetadataServer
from broker.errors import ConfigError
from broker.integrations import installed_helper
from broker.integrations.notify import keep_notifying, notify, watchdog_interval_s
from broker.listener import until_lost
from broker.service.allowed import Allowed
from broker.service.broker import Broker
from broker.service.claude_settings import SettingsOnDisk
from broker.service.consumer_tokens import ConsumerTokens
from broker.service.consumers import Consumers
from broker.service.desktop import Desktop
from broker.service.events import Event
from broker.service.guard import Guard
from broker.service.watcher import Watcher
from broker.sources import TYPES
from broker.storage import pins
from broker.storage.audit.books import Books
from broker.storage.interface import Store

log = logging.getLogger(__name__)

_DRAIN_ANSWERS_S: Final = 12.0
"""Answers under way may take this long at the end: a little more than a helper waits."""
_DRAIN_REQUESTS_S: Final = 1.0
_STATUS_EVERY_S: Final = 60.0
_GIVE_BACK_EVERY_S: Final = 300.0


class Daemon:
    """One run of the daemon on one listening socket, whose lock it holds."""

    def __init__(
        self, settings: Config, system: platform.Platform, listener: socket.socket, lock: int, store: Store
    ) -> None:
        self._settings = settings
        self._system = system
        self._listener = listener
        self._lock = lock
        self._store = store
        self._started = time.monotonic()
        self._reloading = asyncio.Lock()
        self._reload_error: str | None = None
        self._claude = SettingsOnDisk(str(paths.state_dir() / pins.NAME), Allowed(self._tell).heed)
        self._guard = Guard(system, self._claude, SystemClock())
        self._helper = installed_helper.kind(installed_helper.path())

    async def serve(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        stop = _told_to_stop()
        self._build()
        self._begin()
        await self._open()
        self._look_after_itself(stop)
        log.info("serving %d credentials on %s", len(self._settings.credentials), self._listener.getsockname())
        await stop.wait()
        await self._drain()
        await self._end()

    def _build(self) -> None:
        loop = asyncio.get_running_loop()
        self._books = Books(paths.state_dir(), self._store)
        self._broker = Broker(
            self._settings, self._system, SystemClock(), self._store, guard=self._guard, record=self._books.record
        )
        self._desktop = Desktop(self._broker.safe, loop)
        self._watcher = Watcher(self._broker.keepers, loop)

    def _begin(self) -> None:
        """Begin with what takes long: the store is read while the server is built."""
        loop = asyncio.get_running_loop()
        self._broker.start()
        self._tasks = [loop.create_task(self._books.open())]
        loop.add_signal_handler(signal.SIGHUP, lambda: loop.create_task(self._reload()))

    async def _open(self) -> None:
        """Take connections, on every face."""
        tokens = ConsumerTokens(self._store)
        consumers = Consumers(self._system, self._broker.admission.turned_away)
        google = MetadataServer(self._broker, tokens)
        self._faces = Faces([AwsFace(self._broker, tokens), google], consumers, paths.state_dir())
        app = create_app(self._broker, self._system, self._describe)
        audit_calls.add_route(app, self._books.verify)
        app.router.add_routes(ConsumerCalls(self._broker, self._faces, tokens).routes())
        app.router.add_routes(google.control_routes())
        self._runner = server.runner(app)
        await self._runner.setup()
        assert self._runner.server is not None  # noqa: S101  # for the type checker; `setup` made it
        self._connections = Connections(Arrivals(self._runner.server, HelperAsks(app)), self._listener)
        app[CONNECTIONS].append(self._connections)
        await self._faces.follow(self._settings.endpoints)
        self._watcher.start()
        self._connections.start()

    def _look_after_itself(self, stop: asyncio.Event) -> None:
        gc.collect()
        gc.freeze()  # what start-up made lives as long as the daemon: never look at it again
        notify(f"READY=1\nSTATUS={self._status_line()}")
        signs = keep_notifying(self._status_line, watchdog_interval_s() or _STATUS_EVERY_S)
        for doing in (signs, self._broker.lock_when_unused(), self._end_when_lost(stop), self._stay_small()):
            self._tasks.append(asyncio.create_task(doing))
        self._desktop.follow(self._settings.daemon.lock_on)

    async def _drain(self) -> None:
        """Finish what is under way, and begin nothing new."""
        notify("STOPPING=1")
        locks.say_stopping(self._lock)
        self._watcher.stop()
        self._desktop.stop()
        self._broker.bus.close()  # event streams first: one open stream must not delay the end
        self._broker.logins.close()  # nor a person who has not signed in yet
        await asyncio.gather(
            self._connections.drain(_DRAIN_ANSWERS_S, _DRAIN_REQUESTS_S),
            self._faces.drain(_DRAIN_ANSWERS_S, _DRAIN_REQUESTS_S),
        )

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._tell("stopped", None)
        await self._books.close()  # before the store, which remembers where it ends
        await self._broker.close()
        await self._runner.cleanup()

    async def _end_when_lost(self, stop: asyncio.Event) -> None:
        # The last log-out takes the runtime folder with it, but not a daemon that runs on: unreachable, it would keep
        # the state folder from the daemon of the next log-in.
        path = self._listener.getsockname()
        await until_lost(Path(path))
        log.error("%s is gone, so nobody can ask here any more; the next ask starts another daemon", path)
        stop.set()

    async def _stay_small(self) -> None:
        """Give back what loading libraries took: those of the store at once, a source's when it has been used."""
        await self._broker.safe.opened()
        while True:
            await asyncio.to_thread(self._system.give_back_pages)
            await asyncio.sleep(_GIVE_BACK_EVERY_S)

    async def _reload(self) -> None:
        async with self._reloading:  # of two at once the one that read the older file could be applied last
            await self._read_again()

    async def _read_again(self) -> None:
        notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            # In a thread: the file may be on a file system that hangs.
            settings = await asyncio.to_thread(config.read, self._broker.config.path, TYPES)
            self._broker.apply(settings)
        except ConfigError as error:
            self._reload_error = "; ".join(error.problems)
            log.error("the new config is refused, the old one stays: %s", self._reload_error)  # noqa: TRY400  # no bug
            self._tell("reload-refused", None)
        else:
            self._reload_error = None
            self._desktop.follow(settings.daemon.lock_on)
            await self._faces.follow(settings.endpoints)
            logging.getLogger("broker").setLevel(settings.daemon.log_level.upper())
            log.info("config reloaded: %d credentials", len(settings.credentials))
            self._tell("reloaded", f"{len(settings.credentials)} credentials")
        notify(f"READY=1\nSTATUS={self._status_line()}")

    def _tell(self, name: str, reason: str | None) -> None:
        self._broker.bus.publish(Event(name, None, self._broker.clock.now().wall, reason=reason))

    def _describe(self) -> dict[str, Any]:
        return {
            "version": __version__,
            "pid": os.getpid(),
            "uptime_s": int(time.monotonic() - self._started),
            "socket": str(self._listener.getsockname()),
            "locked": self._broker.safe.locked,
            "persist": self._store.persist,
            "helper": self._helper,
            "endpoints": self._faces.addresses,
            "warnings": [{"code": code, "message": message} for code, message in self._warnings()],
        }

    def _warnings(self) -> Iterator[tuple[str, str]]:
        """Give the code and message of each."""
        if self._reload_error is not None:
            why = f"{self._reload_error}; see: broker config check"
            yield "config-refused", f"the new config is refused, the old one stays: {why}"
        if self._helper == "missing":
            yield "helper-missing", f"{installed_helper.path()} is missing; reinstall the package"
        if self._guard.refusal is not None:
            yield "refused", f"a caller was refused: {self._guard.refusal}"
        if self._claude.pins_trouble is not None:
            yield "allowed-broken", self._claude.pins_trouble
        if self._broker.config.daemon.persist != self._settings.daemon.persist:
            yield "persist-changed", "persist was changed; it counts after: broker restart"
        for part in (self._broker.safe, self._desktop, self._books, self._faces):
            yield from part.warnings

    def _status_line(self) -> str:
        if self._broker.safe.locked:
            return "locked"
        states = [found["state"] for found in self._broker.report()]
        counted = ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))
        return counted or "no credentials"


def _told_to_stop() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
