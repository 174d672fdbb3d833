"""Secrets at rest: where their key lives, whether it can be had, and whether the file is sound."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Final

from broker import config, os_keyring
from broker.doctor.finding import Finding, error, fine, notice, parted, warning
from broker.doctor.scene import Scene
from broker.errors import ConfigError
from broker.storage import disk, header
from broker.storage.header import Unreadable
from broker.storage.homes import AUTO, OFF, Homes
from broker.storage.homes.interface import CHOICES
from broker.storage.homes.keyring import KEY, SERVICE

_KEYRING_S: Final = 4.0
_WHY: Final = "what `broker secret set` stored cannot be had, and after a restart every token is fetched anew"
_NOTHING_KEPT: Final = "after a restart every token is fetched anew, and `broker secret set` stores nothing"
_UNLOCK: Final = "broker unlock"


def check(scene: Scene) -> list[Finding]:
    """Look through the daemon where one runs; else at the file's head and at the key's home."""
    if scene.status is not None:
        return _through_daemon(scene, str(scene.status["daemon"]["persist"]))
    try:
        persist = config.read_daemon(scene.places.config, scene.env).persist
    except ConfigError:
        return []  # told where the config is looked at
    return _directly(scene, persist)


def _through_daemon(scene: Scene, persist: str) -> list[Finding]:
    found = []
    for code, message in scene.daemon_warnings("storage-", "passphrase-"):
        what, mend = parted(message, _UNLOCK)
        found.append(warning(code, what, _WHY, mend))
    if found:
        return found
    if persist == OFF:
        return [_nothing_kept("no secret is kept at rest", f"choose a home for the key: {CHOICES}")]
    return [fine("storage", f"encrypted; the key comes from {_named(persist)}")]


def _directly(scene: Scene, persist: str) -> list[Finding]:
    folder = scene.places.state
    if persist == OFF:
        return [fine("storage", 'nothing is kept at rest, as persist = "off" says')]
    try:
        data = disk.read(folder)
        written_with = None if data is None else header.parse(data).home
    except (Unreadable, OSError) as problem:
        path = shlex.quote(str(folder / disk.NAME))
        said = problem.strerror if isinstance(problem, OSError) else str(problem)
        mend = f"put a sound copy back; else it is set aside at the next start: broker start; or give it up: rm {path}"
        return [error("storage-unreadable", f"{folder / disk.NAME}: {said}", _WHY, mend)]
    home = Homes(folder, persist, _KEYRING_S, scene.env).chosen(written_with).name
    if home == "keyring":
        return list(_keyring(needed=persist != AUTO or written_with is not None))
    return [fine("storage", f"encrypted; the key comes from {_named(home)}")]


def _keyring(*, needed: bool) -> Iterator[Finding]:
    """Read the key's entry, without making one as the store does."""
    try:
        os_keyring.ask([os_keyring.get(SERVICE, KEY)], _KEYRING_S, only_protected=True)
    except os_keyring.KeyringTrouble as trouble:
        what, mend = parted(str(trouble), "keyring diagnose")
        none_here = isinstance(trouble, os_keyring.NoKeyring)
        if none_here and not needed:
            yield _nothing_kept(what, f'{mend}; or put persist = "passphrase" under [daemon], then: {_UNLOCK}')
        else:
            yield error("keyring-missing" if none_here else "keyring-silent", what, _WHY, mend)
    else:
        yield fine("storage", f"encrypted; the key comes from {_named('keyring')}")


def _nothing_kept(what: str, mend: str) -> Finding:
    return notice("nothing-kept", what, _NOTHING_KEPT, mend)


def _named(home: str) -> str:
    names = {
        "keyring": "the system's keyring",
        "systemd": "the service manager",
        "passphrase": f"a passphrase ({_UNLOCK})",
    }
    return names.get(home, home)
