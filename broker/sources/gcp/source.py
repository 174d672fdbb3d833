"""A `[sources.NAME]` of type `gcp`, and its credentials."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from broker.errors import FetchError
from broker.model import Issued
from broker.sources.blocking import Blocking
from broker.sources.gcp.document import Document
from broker.sources.gcp.origin import Origin
from broker.sources.gcp.settings import GcpSettings, GcpSourceSettings
from broker.sources.interface import DEFAULT_TIMEOUT_S, Context, Fetcher

if TYPE_CHECKING:
    from broker.sources.gcp.identity import Credentials, Identity
    from broker.sources.gcp.transport import Request

_LIMIT_S: Final = 25.0
"""For all calls of one fetch together."""
_GCLOUD_LOGIN: Final = "gcloud auth application-default login"


class GcpSource:
    """Who we are at Google."""

    def __init__(self, settings: GcpSourceSettings, context: Context) -> None:
        self._settings = settings
        self._context = context

    def fetcher(self, settings: GcpSettings, _credential: str) -> Fetcher:
        """Bind one credential."""
        return GcpFetcher(self._settings, settings, self._context)

    def warm(self) -> None:
        """Load the libraries, in a thread, before they are needed."""
        with suppress(RuntimeError):  # the system gives no more threads
            threading.Thread(target=_load, name="gcp", daemon=True).start()

    async def close(self) -> None:
        """Nothing was borrowed: what Google gives cannot be given back."""


class GcpFetcher:
    """Gets one token or secret."""

    timeout_s: float = _LIMIT_S + DEFAULT_TIMEOUT_S + 5

    def __init__(self, source: GcpSourceSettings, settings: GcpSettings, context: Context) -> None:
        self._source = source
        self._settings = settings
        self._context = context
        self._origin = Origin(source, context)
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
                self._made = None
                raise translated(refusal, identity, _GCLOUD_LOGIN) from None
            except FetchError:
                self._made = None
                raise

    def _asked(self, identity: Identity, request: Request) -> Issued:
        from broker.sources.gcp import secretmanager, tokens  # noqa: PLC0415  # as above

        match self._settings.kind:
            case "id-token":
                return tokens.id_token(identity, self._settings, request)
            case "secret":
                return secretmanager.access(identity, self._settings, request, time.time())
        return tokens.access_token(identity, self._settings, request, self._credentials(identity))

    def _credentials(self, identity: Identity) -> Credentials:
        """Go on with those of the last fetch: an exchange may have changed the refresh token that they hold."""
        if self._made is None or self._made[0] != identity.document:
            self._made = identity.document, identity.credentials(self._settings.scopes)
        return self._made[1]


def _load() -> None:
    from broker.sources.gcp import secretmanager  # noqa: F401, PLC0415  # with all that it needs
