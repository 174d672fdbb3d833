"""Calls to one server: blocking, each bounded in time, with errors in our words."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

from broker.errors import TransientFetchError
from broker.secret import Secret
from broker.sources.blocking import Blocking
from broker.sources.vault.settings import VaultSourceSettings

if TYPE_CHECKING:
    from broker.sources.web.transport import Transport

T = TypeVar("T")

_CONNECT_S: Final = 5.0

Client = Any
"""An `hvac.Client`; hvac has no types."""


class Connection:
    """The way to the server. The library is loaded by the first call, in its thread."""

    def __init__(self, settings: VaultSourceSettings) -> None:
        self.settings = settings
        self._transport: Transport | None = None
        self._guard = threading.Lock()

    def warm(self) -> None:
        """Load the libraries and the certificates, in a thread, before they are needed; whether that works, calls tell."""
        with suppress(RuntimeError):  # the system gives no more threads
            threading.Thread(target=self._warmed, name="vault", daemon=True).start()

    async def run(
        self,
        thread: Blocking,
        call: Callable[[Client], T],
        token: Secret | None,
        what: str,
        sent: Sequence[Secret] = (),
    ) -> T:
        """Run `call` in `thread`, with a client that carries `token`; `what` names it in errors.

        What it sends that the server may quote in a refusal is `sent`.

        Raises `TransientFetchError`, `PermanentFetchError`, and of these what `vault.errors` has.
        """
        limit_s = self.settings.timeout
        try:
            async with asyncio.timeout(limit_s + 1):  # the call's own time-out says more, but counts each read anew
                return await thread.run(lambda: self._called(call, token, what, sent))
        except TimeoutError:
            raise TransientFetchError(f"{self.settings.server}: {what}: not done within {limit_s:g} s") from None

    def forget(self) -> None:
        """Read the certificates' files again, and connect anew, at the next call."""
        with self._guard:
            self._transport = None

    def _warmed(self) -> None:
        with suppress(Exception):  # such as a certificate's file that is missing
            self._client(None)

    def _called(self, call: Callable[[Client], T], token: Secret | None, what: str, sent: Sequence[Secret]) -> T:
        import requests  # noqa: PLC0415  # late: only who uses Vault pays for hvac and requests

        from broker.sources.vault.errors import translated  # noqa: PLC0415  # see above

        try:
            return call(self._client(token))
        except Exception as error:  # noqa: BLE001  # whatever the libraries raise
            if isinstance(error, requests.RequestException):
                self.forget()
            raise translated(error, self.settings, what, sent) from None

    def _client(self, token: Secret | None) -> Client:
        import hvac  # noqa: PLC0415  # see `_called`

        settings = self.settings
        return hvac.Client(
            url=settings.server,
            token="" if token is None else token.reveal(),  # None would have hvac look for one in the environment
            verify=True,
            timeout=(min(_CONNECT_S, settings.timeout), settings.timeout),
            session=self._shared(),
            namespace=settings.namespace,
        )

    def _shared(self) -> Transport:
        from broker.sources.web.transport import Transport  # noqa: PLC0415  # see `_called`

        with self._guard:
            if self._transport is None:
                self._transport = Transport(self.settings.reached)
            return self._transport
