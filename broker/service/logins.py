"""Sign-ins by a person: which source, what is kept of them, and that its credentials follow."""

from __future__ import annotations

import asyncio
import difflib
import hmac
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from broker.config import SourceConfig
from broker.errors import (
    BadRequest,
    BrokerError,
    Locked,
    LoginRequired,
    NeedsLogin,
    PermanentFetchError,
    StorageError,
    TransientFetchError,
    UnknownCredential,
)
from broker.model import Process
from broker.secret import Secret
from broker.service.changes import Changes
from broker.service.entries import Entries
from broker.service.events import Who
from broker.service.safe import Safe
from broker.service.underway import UnderWay
from broker.sign_in import Invitation, SignIn
from broker.sources.interface import Interactive
from broker.storage.interface import LOGINS, Store

SIGNED_IN: Final = "signed-in"
SIGNED_OUT: Final = "signed-out"
_URL_MAX: Final = 16 * 1024
_USER_CODE_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class KeptLogin:
    """The `sources.interface.LoginRecord` of the source of this name."""

    store: Store
    source: str

    @property
    def command(self) -> str:
        """What a person runs to sign in."""
        return f"broker login {self.source}"

    def get(self) -> Secret | None:
        """Return what is kept."""
        try:
            return self.store.get(LOGINS + self.source)
        except Locked as error:
            raise TransientFetchError(str(error)) from None

    async def put(self, value: Secret) -> bool:
        """Store it, where that is possible."""
        try:
            await self.store.put(LOGINS + self.source, value)
        except (Locked, StorageError):
            return False
        return True

    async def delete(self) -> None:
        """Remove it, where anything can be stored at all."""
        if self.store.persist == "off":
            return
        try:
            await self.store.delete(LOGINS + self.source)
        except (Locked, StorageError) as error:
            raise TransientFetchError(str(error)) from None


@dataclass(frozen=True, slots=True)
class Begun:
    """What a person is to do. `joined`: somebody had begun it already, and it is theirs to end."""

    invitation: Invitation
    joined: bool


class Logins:
    """What `broker login` and `broker logout` do.

    `tell`: hears of each change: its name, the source, and who did it. `process`: describes a running process.
    """

    def __init__(
        self,
        entries: Entries,
        safe: Safe,
        tell: Callable[[str, str, Who], None],
        process: Callable[[int], Process | None],
    ) -> None:
        self._entries = entries
        self._safe = safe
        self._tell = tell
        self._process = process
        self._changes = Changes()
        self._under_way: dict[str, _One] = {}
        self._beginning: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def ways(self) -> list[tuple[SourceConfig, SignIn]]:
        """List the sources that a person signs in to, and how."""
        found = [
            (opened.config, opened.source.sign_in)
            for opened in self._entries.sources.values()
            if isinstance(opened.source, Interactive)
        ]
        return [(config, way) for config, way in found if way is not None]

    async def begin(self, source: str, redirect_uri: str | None, who: Who) -> Begun:
        """Ask where a person signs in, by a browser that comes back to `redirect_uri`, or (None) by a device code.

        Twenty that ask at once are one sign-in. Raises, as every method here, `UnknownCredential`, `BadRequest` for a
        source without such a sign-in, `Locked`, and the source's `FetchError`.
        """
        self._source(source)
        async with self._beginning[source]:
            opened = self._source(source)
            present = self._under_way.get(source)
            if present is not None and present.source is opened and not present.is_of(who) and not present.way.over:
                return Begun(present.way.invitation, joined=True)
            _check_way(source, opened.sign_in, redirect_uri)
            invitation = _checked(await opened.begin_login(redirect_uri), source)
            self._under_way[source] = self._one(source, opened, invitation, who)
            return Begun(invitation, joined=False)

    async def finish(self, source: str, state: str, code: str, who: Who) -> bool:
        """Sign in by what the browser brought back; return whether that outlasts this run."""
        change = self._finish(source, self._source(source), state, code, who)
        try:
            kept = await self._changes.to_the_end(change)
        except BrokerError as error:
            self._tell_others(source, state, error)
            raise
        self._tell_others(source, state, kept)
        return kept

    async def wait(self, source: str, state: str) -> bool:
        """Wait until the sign-in that `begin` told of has ended; return whether it outlasts this run.

        Raises `NeedsLogin` when it was refused, given up or never begun, or nobody did it in time.
        """
        self._source(source)
        one = self._under_way.get(source)
        if one is None or not one.is_named(state):
            raise NeedsLogin(f"no such sign-in is under way; run: broker login {source}")
        return await one.way.wait()

    def close(self) -> None:
        """Let nobody wait any longer."""
        for one in self._under_way.values():
            one.way.ended(TransientFetchError("the daemon stops; sign in again when it is back"))

    async def logout(self, source: str, who: Who) -> bool:
        """Sign out, and drop every token that was got by it; return whether anybody was signed in."""
        return await self._changes.to_the_end(self._logout(source, self._source(source), who))

    def _one(self, name: str, source: Interactive, invitation: Invitation, who: Who) -> _One:
        began = self._process(who.pid)

        async def ask() -> bool:
            if self._source(name) is not source:
                raise NeedsLogin("locked or set up anew meanwhile; sign in once more")
            return await self._changes.to_the_end(self._finish(name, source, invitation.state, None, who))

        def alive() -> bool:
            # The start tells whether the pid was handed on to another process.
            now = self._process(who.pid)
            return began is not None and now is not None and now.started == began.started

        return _One(source, who.pid, UnderWay(invitation, alive, ask))

    def _tell_others(self, name: str, state: str, outcome: bool | BrokerError) -> None:  # noqa: FBT001  # as it came
        one = self._under_way.get(name)
        if one is not None and one.is_named(state):
            one.way.ended(outcome)

    async def _finish(self, name: str, source: Interactive, state: str, code: str | None, who: Who) -> bool:
        try:
            kept = await source.finish_login(state, code)
        except LoginRequired as error:  # a person is here, and is told so
            raise NeedsLogin(str(error)) from None
        self._tell(SIGNED_IN, name, who)
        for keeper in (keeper for entry in self._entries.of_source(name) for keeper in entry.keepers):
            keeper.inputs_changed()
        return kept

    async def _logout(self, name: str, source: Interactive, who: Who) -> bool:
        try:
            found = await source.logout()
        finally:  # also where the server could not be told
            for keeper in (keeper for entry in self._entries.of_source(name) for keeper in entry.keepers):
                keeper.replaced()
        if found:
            self._tell(SIGNED_OUT, name, who)
        return found

    def _source(self, name: str) -> Interactive:
        opened = self._entries.sources.get(name)
        if opened is None:
            near = difflib.get_close_matches(name, self._entries.sources, n=1)
            hint = f"did you mean {near[0]}?" if near else "see: broker config show"
            raise UnknownCredential(f"the config has no source {name[:64]!r}; {hint}")
        if not (isinstance(opened.source, Interactive) and opened.source.sign_in is not None):
            raise BadRequest(f"nobody signs in to source {name} by hand; see its credentials: broker status")
        self._safe.check()
        return opened.source


@dataclass(frozen=True, slots=True)
class _One:
    """A sign-in, at which source, and the process that began it."""

    source: Interactive
    pid: int
    way: UnderWay

    def is_of(self, who: Who) -> bool:
        """Whether that process asks again: then it has given it up."""
        return self.pid in {0, who.pid}

    def is_named(self, state: str) -> bool:
        return hmac.compare_digest(state.encode(), self.way.invitation.state.encode())


def _check_way(name: str, sign_in: SignIn | None, redirect_uri: str | None) -> None:
    if redirect_uri is None and not (sign_in and sign_in.device):
        raise BadRequest(f"source {name} has no sign-in by a device code; leave out --device")
    if redirect_uri is not None and not (sign_in and sign_in.page):
        raise BadRequest(f"source {name} has a sign-in by a device code only")


def _checked(invitation: Invitation, name: str) -> Invitation:
    """Raise `PermanentFetchError` where a provider sends a person to what is no web page.

    It goes to a browser, and is shown on a terminal: no javascript:, no file:, no control characters.
    """
    shown = [invitation.url, invitation.complete_url or invitation.url]
    if not all(_is_web(url) for url in shown):
        raise PermanentFetchError(
            f"source {name}: the provider gives something as the address to sign in at that is none"
        )
    code = invitation.user_code
    if code is not None and not (0 < len(code) <= _USER_CODE_MAX and code.isascii() and code.isprintable()):
        raise PermanentFetchError(f"source {name}: the provider gives something as the code to confirm that is none")
    return invitation


def _is_web(url: str) -> bool:
    try:
        parts = urlsplit(url)
        sound = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        return False
    return sound and len(url) <= _URL_MAX and url.isascii() and url.isprintable() and " " not in url
