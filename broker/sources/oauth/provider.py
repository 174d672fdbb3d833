"""Calls to one provider: blocking, each bounded in time, with errors in our words; and where its endpoints are."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

from broker.clock import SystemClock
from broker.errors import FetchError, PermanentFetchError, TransientFetchError
from broker.secret import Secret
from broker.sources.blocking import Blocking
from broker.sources.oauth import metadata
from broker.sources.oauth.answer import Answer
from broker.sources.oauth.flight import START_S, Flight
from broker.sources.oauth.metadata import Metadata
from broker.sources.oauth.refusals import NotThere
from broker.sources.oauth.settings import OAuthSourceSettings
from broker.sources.web.server import Server

if TYPE_CHECKING:
    import requests

    from broker.sources.oauth.carried import CarriedTransport
    from broker.sources.oauth.client import ProviderClient
    from broker.sources.oauth.transport import ProviderTransport

T = TypeVar("T")

REFRESH: Final = "refresh our token"
METADATA_S: Final = 3600.0
"""How long the metadata is believed: endpoints move seldom, and are told ahead of time."""


class Provider:
    """The way to the provider. The libraries are loaded by the first call, in its thread."""

    def __init__(self, settings: OAuthSourceSettings) -> None:
        self.settings = settings
        self._transports: dict[str, ProviderTransport] = {}
        self._guard = threading.Lock()
        self._metadata: Metadata | None = None
        self._read_at = 0.0
        self._reading = asyncio.Lock()

    @property
    def details(self) -> dict[str, str]:
        """What may be shown of where a token comes from."""
        return {"issuer": urlsplit(self.settings.place).netloc}

    def warm(self) -> None:
        """Load the libraries and the certificates, in a thread, before they are needed; whether that works, calls tell."""
        with suppress(RuntimeError):  # the system gives no more threads
            threading.Thread(target=self._warmed, name="oauth", daemon=True).start()

    async def endpoint(self, thread: Blocking, name: str) -> str:
        """Find an endpoint by the setting that would name it. Raises `TransientFetchError`, `PermanentFetchError`."""
        given: str | None = getattr(self.settings, name)
        if given is not None:
            return given
        found = (await self.metadata(thread)).endpoints.get(name)
        if found is None:
            raise PermanentFetchError(
                f"{self.settings.place}: its metadata names no such endpoint; set {name}, or another flow"
            )
        return found

    async def metadata(self, thread: Blocking) -> Metadata:
        """Return what the provider says of itself; empty where no issuer is configured. Raises as `endpoint` does."""
        if self.settings.issuer is None:
            return Metadata({}, frozenset())
        async with self._reading:
            if self._metadata is not None and _now() < self._read_at + METADATA_S:
                return self._metadata
            try:
                self._metadata = await self._discovered(thread, self.settings.issuer)
            except TransientFetchError:
                if self._metadata is None:
                    raise
            self._read_at = _now()
            return self._metadata

    async def ask(
        self,
        thread: Blocking,
        grant_type: str,
        params: Mapping[str, str],
        *,
        own: Mapping[str, Secret],
        what: str,
        flight: Flight | None = None,
    ) -> Answer:
        """Ask the token endpoint; `own`: what shows that we are the client; `flight`: who makes the request.

        Raises `TransientFetchError`, `PermanentFetchError`, and of these what `refusals` has.
        """
        url = await self.endpoint(thread, "token_url")
        at = time.time()
        sent = [*own.values(), *(Secret(value) for value in params.values())]
        plain = {name: secret.reveal() for name, secret in own.items()}

        def ask(transport: ProviderTransport) -> dict[str, Any]:
            return self._client(self._carried(url, flight) or transport, plain).ask(url, grant_type, params)

        more_s = START_S if flight is not None else 0.0
        return Answer(await self._run(thread, url, ask, what=what, sent=sent, more_s=more_s), at)

    async def landed(self, thread: Blocking, outcome: Mapping[str, Any], token: Secret) -> Answer:
        """Read what a flight brought that an earlier run began, or an earlier try. Raises as `ask` does."""
        url = await self.endpoint(thread, "token_url")

        def read(transport: ProviderTransport) -> dict[str, Any]:
            from broker.sources.oauth.carried import response  # noqa: PLC0415  # see `_called`

            fields: dict[str, Any] = self._client(transport, {}).parse_response_token(response(outcome))
            return fields

        return Answer(await self._run(thread, url, read, what=REFRESH, sent=(token,)), 0.0)

    async def call(
        self,
        thread: Blocking,
        url: str,
        own: Mapping[str, Secret],
        call: Callable[[ProviderClient], T],
        *,
        what: str,
        sent: Sequence[Secret],
    ) -> T:
        """Run `call` with a client for one of the provider's addresses; what it sends is `sent`."""
        plain = {name: secret.reveal() for name, secret in own.items()}
        return await self._run(
            thread, url, lambda transport: call(self._client(transport, plain)), what=what, sent=sent
        )

    def forget(self) -> None:
        """Read certificates and metadata again, and connect anew, at the next call."""
        with self._guard:
            self._transports.clear()
        self._metadata = None

    async def _discovered(self, thread: Blocking, issuer: str) -> Metadata:
        first, second = metadata.addresses(issuer)
        try:
            found = await self._read(thread, first)
        except NotThere:
            try:
                found = await self._read(thread, second)
            except NotThere:
                raise PermanentFetchError(
                    f"{issuer}: no metadata is there, neither at {first} nor at {second}; check `issuer`, or set token_url"
                ) from None
        return metadata.read(found, self.settings)

    async def _read(self, thread: Blocking, url: str) -> object:
        def get(transport: ProviderTransport) -> object:
            answer = transport.get(url, headers={"Accept": "application/json"})
            answer.raise_for_status()
            document: object = answer.json()
            return document

        return await self._run(thread, url, get, what="read its metadata", sent=())

    async def _run(
        self,
        thread: Blocking,
        url: str,
        call: Callable[[ProviderTransport], T],
        *,
        what: str,
        sent: Sequence[Secret],
        more_s: float = 0.0,
    ) -> T:
        server = self.settings.server(url)
        limit_s = self.settings.timeout + more_s
        try:
            async with asyncio.timeout(limit_s + 1):  # the call's own time-out says more, but counts each read anew
                return await thread.run(lambda: self._called(server, call, what, sent))
        except TimeoutError:
            raise TransientFetchError(f"{self.settings.place}: {what}: not done within {limit_s:g} s") from None

    def _called(self, server: Server, call: Callable[[ProviderTransport], T], what: str, sent: Sequence[Secret]) -> T:
        import requests  # noqa: PLC0415  # late: only who uses OAuth pays for authlib and requests

        from broker.sources.oauth.errors import translated  # noqa: PLC0415  # see above

        try:
            return call(self._transport(server.address))
        except Exception as error:  # noqa: BLE001  # whatever the libraries raise
            if isinstance(error, requests.ConnectionError):
                with self._guard:  # a certificate's file may have been mended
                    self._transports.clear()
            raise translated(error, server, what, sent) from None

    def _client(self, transport: requests.Session, own: Mapping[str, str]) -> ProviderClient:
        from broker.sources.oauth.client import ProviderClient  # noqa: PLC0415  # see `_called`

        return ProviderClient.made(self.settings, transport, own)

    def _carried(self, url: str, flight: Flight | None) -> CarriedTransport | None:
        from broker.sources.oauth.carried import CarriedTransport  # noqa: PLC0415  # see `_called`

        return None if flight is None else CarriedTransport(self.settings.server(url), flight)

    def _transport(self, url: str) -> ProviderTransport:
        from broker.sources.oauth.transport import ProviderTransport  # noqa: PLC0415  # see `_called`

        with self._guard:
            if url not in self._transports:
                self._transports[url] = ProviderTransport(self.settings.server(url))
            return self._transports[url]

    def _warmed(self) -> None:
        from broker.sources.oauth import client, errors  # noqa: F401, PLC0415  # see `_called`

        with suppress(FetchError, OSError):  # such as a certificate's file that is missing
            self._transport(self.settings.token_url or self.settings.place)


def _now() -> float:
    return SystemClock().now().mono
