"""Secrets at rest: where their key lives, whether it can be had, and whether the file is sound."""

from __future__ import annotations

import shlex
from typing import Final

from broker import os_keyring
from broker.doctor.finding import Finding, error, fine, notice, parted, warning
from broker.doctor.scene import Scene
from broker.doctor.stored import KEYRING, Stored
from broker.errors import ConfigError
from broker.storage import disk
from broker.storage.homes import AUTO, OFF
from broker.storage.homes.interface import Absent, NeedsPassphrase, Unreachable

_WHY: Final = "what `broker secret set` stored cannot be had, and after a restart every token is fetched anew"
_NOTHING_KEPT: Final = "after a restart every token is fetched anew, and `broker secret set` stores nothing"
_UNLOCK: Final = "broker unlock"
_ELSEWHERE: Final = "the daemon reaches no keyring, though this session has one: it was started outside of it"
_RESTART: Final = "broker restart"
_CHOOSE: Final = (
    "choose a passphrase, on a terminal: broker secret set NAME; else put"
    f' persist = "passphrase" under [daemon], then: broker restart; then: {_UNLOCK}'
)


def check(scene: Scene) -> list[Finding]:
    """Ask the daemon where one runs; else read the file, if its key can be had without a person."""
    if scene.status is not None:
        return _through_daemon(scene, str(scene.status["daemon"]["persist"]))
    stored = scene.stored()
    if isinstance(stored, ConfigError):
        return []  # told where the config is looked at
    return [_trouble(scene, stored) or _sound(stored)]


def _through_daemon(scene: Scene, persist: str) -> list[Finding]:
    found = []
    for code, message in scene.daemon_warnings("storage-", "passphrase-"):
        if message.startswith(os_keyring.NONE) and _has_keyring(scene):
            return [warning("keyring-elsewhere", _ELSEWHERE, _WHY, _RESTART)]
        what, mend = parted(message, _UNLOCK)
        found.append(warning(code, what, _WHY, mend))
    if found:
        return found
    settings = scene.good_config
    if persist != OFF or (settings is not None and settings.daemon.persist == OFF):
        return [_sound(Stored(persist))]
    if _has_keyring(scene):
        return [_nothing_kept(_ELSEWHERE, _RESTART)]
    return [_nothing_kept("no secret is kept at rest", _CHOOSE)]


def _has_keyring(scene: Scene) -> bool:
    """Whether this shell reaches the keyring that the daemon found none of: started by ssh or cron it has no bus."""
    stored = scene.stored()
    return isinstance(stored, Stored) and stored.home == KEYRING and stored.trouble is None


def _trouble(scene: Scene, stored: Stored) -> Finding | None:
    match stored.trouble:
        case None | NeedsPassphrase():
            return None
        case Absent() | Unreachable() as trouble:
            return _no_key(scene, stored, trouble)
        case trouble:
            path = scene.places.state / disk.NAME
            said = trouble.strerror if isinstance(trouble, OSError) else str(trouble)
            mend = (
                f"put a sound copy back; or have it set aside: broker start; or give it up: rm {shlex.quote(str(path))}"
            )
            return error("storage-unreadable", f"{path}: {said}", _WHY, mend)


def _no_key(scene: Scene, stored: Stored, trouble: Absent | Unreachable) -> Finding | None:
    what, mend = parted(str(trouble), "keyring diagnose")
    if stored.home != KEYRING:
        return None  # the service manager hands its credentials to the service alone: nothing can be told from here
    if isinstance(trouble, Unreachable):
        return error("keyring-silent", what, _WHY, mend)
    settings = scene.good_config
    if stored.exists or (settings is not None and settings.daemon.persist != AUTO):
        return error("keyring-missing", what, _WHY, mend)
    return _nothing_kept(what, f"{mend}; or {_CHOOSE}")


def _sound(stored: Stored) -> Finding:
    names = {
        KEYRING: "the system's keyring",
        "systemd": "the service manager",
        "passphrase": f"a passphrase ({_UNLOCK})",
        OFF: "",
    }
    key = names.get(stored.home, stored.home)
    return fine("storage", f"encrypted; the key comes from {key}" if key else "off: nothing secret is kept at rest")


def _nothing_kept(what: str, mend: str) -> Finding:
    return notice("nothing-kept", what, _NOTHING_KEPT, mend)
