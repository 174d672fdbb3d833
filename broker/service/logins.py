"""Sign-ins by a person: which source, what is kept of them, and that its credentials follow."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from broker.errors import BadRequest, Locked, StorageError, TransientFetchError, UnknownCredential
from broker.secret import Secret
from broker.service.changes import Changes
from broker.service.entries import Entries
from broker.service.events import Who
from broker.service.safe import Safe
from broker.sources.interface import Interactive, Invitation
from broker.storage.interface import LOGINS, Store

SIGNED_IN: Final = "signed-in"
SIGNED_OUT: Final = "signed-out"


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


class Logins:
    """What `broker login` and `broker logout` do. `tell`: hears of each change: its name, the source, and who did it."""

    def __init__(self, entries: Entries, safe: Safe, tell: Callable[[str, str, Who], None]) -> None:
        self._entries = entries
        self._safe = safe
        self._tell = tell
        self._changes = Changes()

    async def begin(self, source: str, redirect_uri: str) -> Invitation:
        """Ask where a person signs in.

        Raises, as every method here, `UnknownCredential`, `BadRequest` for a source without sign-in, `Locked`, and
        the source's `FetchError`.
        """
        return await self._source(source).begin_login(redirect_uri)

    async def finish(self, source: str, state: str, code: str, who: Who) -> bool:
        """Sign in; return whether that outlasts this run."""
        return await self._changes.to_the_end(self._finish(source, self._source(source), state, code, who))

    async def logout(self, source: str, who: Who) -> bool:
        """Sign out, and drop every token that was got by it; return whether anybody was signed in."""
        return await self._changes.to_the_end(self._logout(source, self._source(source), who))

    async def _finish(self, name: str, source: Interactive, state: str, code: str, who: Who) -> bool:
        kept = await source.finish_login(state, code)
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
        if not (isinstance(opened.source, Interactive) and opened.source.signs_in):
            raise BadRequest(f"nobody signs in to source {name} by hand; see its credentials: broker status")
        self._safe.check()
        return opened.source
