"""A `[sources.NAME]` of type `gcp`, and its credentials."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from broker.errors import PermanentFetchError, TransientFetchError
from broker.model import Issued
from broker.sign_in import Invitation, SignIn
from broker.sources.blocking import Blocking
from broker.sources.gcp.document import Document
from broker.sources.gcp.origin import Origin
from broker.sources.gcp.person import Person
from broker.sources.gcp.settings import GcpSettings, GcpSourceSettings
from broker.sources.interface import DEFAULT_TIMEOUT_S, Context, Fetcher

if TYPE_CHECKING:
    from broker.sources.gcp.identity import Credentials, Identity
    from broker.sources.gcp.transport import Request

_LIMIT_S: Final = 25.0
"""For all calls of one fetch together."""
GCLOUD_LOGIN: Final = "gcloud auth application-default login"
_ELSEWHERE: Final = f"where no metadata server is meant, run: {GCLOUD_LOGIN}; or set credentials of the source"


class GcpSource:
    """Who we are at Google."""

    def __init__(self, settings: GcpSourceSettings, context: Context) -> None:
        self._settings = settings
        self._context = context
        self._person = Person(settings, context) if settings.sign_in is not None else None

    def fetcher(self, settings: GcpSettings, _credential: str) -> Fetcher:
        """Bind one credential."""
        login = GCLOUD_LOGIN if self._person is None else self._context.login.command
        return GcpFetcher(self._settings, settings, Origin(self._settings, self._context, self._person), login)

    @property
    def sign_in(self) -> SignIn | None:
        """How a person signs in, where `sign_in` says that one does."""
        return None if self._person is None else self._person.way

    async def begin_login(self, redirect_uri: str | None) -> Invitation:
        """Make the address that the browser is sent to."""
        return await self._signing.begin(redirect_uri or "")

    async def finish_login(self, state: str, code: str | None) -> bool:
        """Take what the browser brought back."""
        return await self._signing.finish(state, code or "")

    async def logout(self) -> bool:
        """Forget the sign-in, here and at Google."""
        return await self._signing.logout()

    @property
    def _signing(self) -> Person:
        if self._person is None:
            raise PermanentFetchError("nobody signs in here: the source has no sign_in")
        return self._person

    def warm(self) -> None:
        """Load the libraries, in a thread, before they are needed."""
        with suppress(RuntimeError):  # the system gives no more threads
            threading.Thread(target=_load, name="gcp", daemon=True).start()

    async def close(self) -> None:
        """Forget what is not stored; nothing was borrowed, as what Google gives cannot be given back."""
        if self._person is not None:
            self._person.close()


class GcpFetcher:
    """Gets one token or secret."""

    timeout_s: float = _LIMIT_S + DEFAULT_TIMEOUT_S + 5

    def __init__(self, source: GcpSourceSettings, settings: GcpSettings, origin: Origin, login: str) -> None:
        """Take the command `login` by which a person mends a sign-in that ended."""
        self._source = source
        self._settings = settings
        self._origin = origin
        self._login = login
        self._thread = Blocking("gcp")
        self._made: tuple[Document | None, Credentials] | None = None

    async def fetch(self) -> Issued:
        """Read the credentials' JSON, and get a new token by it."""
        document = await self._origin.document()
        return await self._thread.run(lambda: self._got(document))

    def changed(self) -> bool:
        """Notice another JSON."""
        return self._origin.changed()

    def _got(self, document: Document | None) -> Issued:
        from broker.sources.gcp.errors import Refusal, translated  # noqa: PLC0415  # late: see `SourceType`
        from broker.sources.gcp.identity import Identity  # noqa: PLC0415  # as above
        from broker.sources.gcp.transport import Request  # noqa: PLC0415  # as above

        identity = Identity(self._source, document)
        with Request(self._source, _LIMIT_S) as request:
            try:
                return self._asked(identity, request)
            except Refusal as refusal:
                raise translated(refusal, identity, self._login) from None
            except TransientFetchError as error:
                if document is not None:
                    raise
                raise TransientFetchError(f"{error}; {_ELSEWHERE}", retry_after_s=error.retry_after_s) from None

    def _asked(self, identity: Identity, request: Request) -> Issued:
        from broker.sources.gcp import secretmanager, tokens  # noqa: PLC0415  # as above
        from broker.sources.gcp.errors import Refusal  # noqa: PLC0415  # as above

        match self._settings.kind:
            case "id-token":
                return tokens.id_token(identity, self._settings, request)
            case "secret":
                return secretmanager.access(identity, self._settings, request, time.time())
        made = self._made
        if made is not None and made[0] == identity.document:
            # Those of the last fetch: an exchange may have changed the refresh token that they hold.
            try:
                return self._by(made[1], identity, request)
            except Refusal:  # or what they hold is dead by now
                self._made = None
        return self._by(identity.credentials(self._settings.scopes), identity, request)

    def _by(self, made: Credentials, identity: Identity, request: Request) -> Issued:
        from broker.sources.gcp import tokens  # noqa: PLC0415  # as above

        issued = tokens.access_token(identity, self._settings, request, made)
        self._made = identity.document, made
        return issued


def _load() -> None:
    from broker.sources.gcp import secretmanager  # noqa: F401, PLC0415  # with all that it needs
