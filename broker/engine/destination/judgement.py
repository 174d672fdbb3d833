"""The verdict: may this token go to this Claude Code?"""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from broker import audience as audiences
from broker.engine.destination.endpoints import BASE_URLS, Destination, destinations
from broker.engine.destination.known import Allowed, Known, Pins, Refused, Scope, SettingsFile, Verdict
from broker.engine.destination.layers import LIVE, Layers, files_in_use
from broker.engine.destination.names import climbs, intercepting
from broker.engine.destination.places import POINTERS
from broker.model import Kind

_SHOWN_MAX: Final = 1024
_NOT_MEANT: Final = "which is outside this credential's audience"


def judge(known: Known, audience: Sequence[str], allowed: Pins, kind: Kind | None = None) -> Verdict:
    """Say whether a token of a credential with this audience may be handed to this Claude Code, or why not.

    With a `kind` only what a provider is sent that takes this kind counts for where requests go; None: all of it.

    `audience` are base URLs as `broker.audience` reads them; for a credential that names none give
    `broker.audience.default(kind)`. A file in `allowed` may say what it likes, except where requests go in the end:
    that must lie within the audience whoever set it, since only the config says for whom a credential is meant. A
    file that cannot be read strictly is refused even then: nobody can tell what it says to Claude Code.
    """
    files = files_in_use(known)
    for file in files:
        if refused := _refuse_file(file, audience, allowed):
            return refused
    layers = Layers(known, files)
    for name, text in layers.vanished():
        if title := intercepting(name, text):
            return _vanished(name, title)
    goes_to = list(destinations(layers, kind))
    for destination in goes_to:
        if destination.url is None or not audiences.covers(audience, destination.url):
            return _outside(destination)
    return Allowed(tuple(sorted({destination.url for destination in goes_to if destination.url})))


def findings(file: SettingsFile, audience: Sequence[str]) -> list[Refused]:
    """Name everything in a project's file that is refused, for a person who decides about it."""
    if file.settings is None:
        return [refused for refused in [_refuse_file(file, audience, frozenset())] if refused]
    return list(_steering(file, audience))


def _refuse_file(file: SettingsFile, audience: Sequence[str], allowed: Pins) -> Refused | None:
    if file.settings is None:
        is_gits = posixpath.basename(file.path) in POINTERS
        mend = "have git write it anew: git worktree repair" if is_gits else "make it a plain JSON file"
        why = f"so nobody can tell where Claude Code would send the token; {mend}"
        return Refused(file.path, "", f"{shown(file.path)} {file.problem}, {why}")
    if file.scope is Scope.PROJECT and (file.path, file.sha256) not in allowed:
        return next(_steering(file, audience), None)
    return None


def _steering(file: SettingsFile, audience: Sequence[str]) -> Iterator[Refused]:
    """Find what a project says that is not its business."""
    for name, title in file.steering.items():
        key, text = f"env.{name}", file.env[name]
        if name not in BASE_URLS or not text:
            mend = f"a project may not set that by itself: read the file, then: broker allow {_folder(file)}"
            yield Refused(file.path, key, f"{_at(file.path, key)} is {title} variable; {mend}")
        elif not audiences.covers(audience, text):
            yield Refused(file.path, key, f"{_at(file.path, key)} {_leads_outside(text)}")
    if climbs(_model(file)):
        why = "is no plain name of a model, and may lead requests out of the audience's path"
        mend = f"read the file, then: broker allow {_folder(file)}"
        yield Refused(file.path, "model", f"{_at(file.path, 'model')} {why}; {mend}")


def _model(file: SettingsFile) -> str:
    """Return every model that the file names outside `env`, as one text."""
    settings = file.settings or {}
    return "\n".join(_texts(settings.get(key) for key in ("model", "modelOverrides")))


def _texts(values: Iterable[object]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            yield from _texts(value.values())


def _vanished(name: str, title: str) -> Refused:
    why = "that it was not started with and no settings file holds (any more?), so it may be a project's"
    mend = "if it is yours, set it in ~/.claude/settings.json or in your shell; then start Claude Code anew"
    return Refused(LIVE, name, f"{LIVE} has {shown(name)}, {title} variable {why}; {mend}")


def _outside(destination: Destination) -> Refused:
    setting, url = destination.setting, destination.url
    if url is None:
        mend = f"set {destination.provider.url} to a plain base URL within the audience"
        what = "leaves open where Claude Code would send the token"
        return Refused(setting.file, setting.key, f"{_at(setting.file, setting.key)} {what}; {mend}")
    if not setting.file:
        name = destination.provider.url
        mend = f"set it (broker setup claude-code --base-url URL), or {_say_so(url)}"
        line = f"no setting names {name}, so Claude Code would send the token to {url}, {_NOT_MEANT}; {mend}"
        return Refused("", name, line)
    return Refused(setting.file, setting.key, f"{_at(setting.file, setting.key)} {_leads_outside(url)}")


def _leads_outside(url: str | None) -> str:
    if url is None or audiences.problem(url) is not None:
        return "is no plain base URL, so nobody can tell where Claude Code would send the token"
    return f"sends requests to {url}, {_NOT_MEANT}; {_say_so(url)}"


def _say_so(url: str) -> str:
    return f'if it is meant for there, say so in the config: audience = ["{url}"]'


def _at(file: str, key: str) -> str:
    return f"{shown(file)}: {shown(key)}" if file else shown(key)


def _folder(file: SettingsFile) -> str:
    return shlex.quote(shown(posixpath.dirname(posixpath.dirname(file.path))))


def shown(text: str) -> str:
    """Make text from outside fit for one line of a terminal: what is not printable is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:_SHOWN_MAX])
