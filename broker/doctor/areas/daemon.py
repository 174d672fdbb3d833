"""The socket and who answers there: is it this installation's daemon, of this version, with the present config?"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from broker import __version__, locks, platform
from broker.connection import NotRunning
from broker.doctor.finding import Finding, error, fine, notice, parted, warning
from broker.doctor.scene import Scene, Status
from broker.errors import BrokerError, UnsafePath

_TOLD_ELSEWHERE: Final = ("storage-", "audit-", "helper-", "passphrase-")
_RESTART: Final = "broker restart"


def check(scene: Scene) -> list[Finding]:
    """Ask the daemon who it is."""
    answer = scene.answer()
    if isinstance(answer, BrokerError):
        held = _state_held(scene) if isinstance(answer, NotRunning) else ()
        return [_silent(scene, answer), *held]
    daemon = answer["daemon"]
    found = [
        *_version(daemon),
        *_executable(int(daemon["pid"])),
        *_config(scene, answer),
        *_locked(daemon),
        *_own_warnings(scene),
    ]
    return found or [fine("daemon", f"broker {daemon['version']}, pid {daemon['pid']}, on {scene.places.socket}")]


def _silent(scene: Scene, problem: BrokerError) -> Finding:
    what, mend = parted(str(problem), _RESTART if scene.good_config is not None else "broker config check")
    if isinstance(problem, UnsafePath):
        return error("socket-unsafe", what, "somebody else could answer there, or listen in", mend)
    if not isinstance(problem, NotRunning):
        return error("daemon-silent", what, "no caller gets a token", mend.removeprefix("try: "))
    if scene.env.get("BROKER_AUTOSTART") == "0":
        why = "BROKER_AUTOSTART=0 keeps the helper from starting one, so Claude Code gets no key"
        return warning("daemon-not-running", what, why, "broker start")
    return notice("daemon-not-running", what, "the first ask has to start it, which takes a moment", "broker start")


def _version(daemon: Status) -> Iterator[Finding]:
    if daemon["version"] != __version__:
        yield warning(
            "daemon-version",
            f"the daemon is version {daemon['version']}, this is {__version__}",
            "an old daemon was left running by an upgrade, without what the new version mends",
            _RESTART,
        )


def _executable(pid: int) -> Iterator[Finding]:
    """Compare the interpreters' folders: of another user's pid namespace nothing is seen, and nothing said."""
    arguments = platform.current().arguments(pid)
    if not arguments or arguments[-1] != "run" or not arguments[0].startswith("/"):
        return
    theirs = Path(arguments[0]).parent
    if os.path.realpath(theirs) != os.path.realpath(Path(sys.executable).parent):
        yield warning(
            "daemon-elsewhere",
            f"the daemon (pid {pid}) runs from {theirs}, this command from {Path(sys.executable).parent}",
            "two installations take turns, and an upgrade of one leaves the other as it was",
            f"{_RESTART}; then remove the installation that you do not use",
        )


def _config(scene: Scene, answer: Status) -> Iterator[Finding]:
    settings = scene.good_config
    if settings is None:
        return
    serves = {(entry["name"], entry["source"]) for entry in answer["credentials"]}
    wanted = {(one.name, one.source) for one in settings.credentials.values()}
    if serves != wanted:
        names = ", ".join(sorted({name for name, _ in serves ^ wanted}))
        yield warning(
            "daemon-config",
            f"the daemon serves another config than {settings.path}: they differ in {names}",
            "it was edited since the daemon read it, or the daemon reads another file",
            _RESTART,
        )


def _locked(daemon: Status) -> Iterator[Finding]:
    if daemon["locked"]:
        yield warning("locked", "the broker is locked", "nothing is handed out", "broker unlock")


def _state_held(scene: Scene) -> Iterator[Finding]:
    """Two daemons never share a state folder; so one on another socket keeps this one from starting."""
    holder = locks.holder(scene.places.state / locks.STATE)
    if holder is not None and holder.pid not in {0, os.getpid()} and not holder.stopping:
        yield error(
            "state-held",
            f"process {holder.pid} keeps its state in {scene.places.state}, but does not answer on {scene.places.socket}",
            "no daemon can start here while it runs",
            f"end it: kill {holder.pid}; or set BROKER_SOCKET to its socket",
        )


def _own_warnings(scene: Scene) -> Iterator[Finding]:
    for code, message in scene.daemon_warnings(""):
        if not code.startswith(_TOLD_ELSEWHERE):
            what, mend = parted(message, "broker status")
            yield warning(f"daemon-{code}", what, "the daemon itself warns of it", mend)
