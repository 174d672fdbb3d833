"""Calls that send JSON and get JSON: blocking, each bounded in time and size, with errors in our words."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

from broker.errors import FetchError, TransientFetchError
from broker.secret import Secret
from broker.sources.blocking import Blocking
from broker.sources.web.server import Server

if TYPE_CHECKING:
    from requests import Response

    from broker.sources.web.transport import Transport

_CONNECT_S: Final = 5.0


class NotSent(TransientFetchError):
    """The server could not be reached at all: what was to be sent did not leave this machine."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answered. `body`: the JSON, None where it is none; `date`: its own time, in epoch seconds."""

    status: int
    body: Any = None
    date: float | None = None

    @property
    def ok(self) -> bool:
        """Whether it did what it was asked."""
        return 200 <= self.status < 300  # noqa: PLR2004  # HTTP's own

    @property
    def fields(self) -> Mapping[str, Any]:
        """The body where it is a JSON object, else nothing."""
        return self.body if isinstance(self.body, dict) else {}


@dataclass
class Calls:
    """The way to one server. The library is loaded by the first call, in its thread."""

    server: Server
    _transport: Transport | None = field(default=None, repr=False)
    _guard: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def warm(self) -> None:
        """Load the library and the certificates, in a thread, before they are needed; whether that works, calls tell."""
        with suppress(RuntimeError):  # the system gives no more threads
            threading.Thread(target=self._warmed, name="web", daemon=True).start()

    async def post(
        self, thread: Blocking, path: str, body: Mapping[str, Any], headers: Mapping[str, str | Secret], what: str
    ) -> Reply:
        """Send `body` to `path`, in `thread`; `what` names that in errors. Never repeated, never redirected.

        Raises `TransientFetchError` where no answer comes, or one that asks to come back later (`NotSent` where the
        server could not even be reached), and
        `PermanentFetchError` where a file of the settings is no use.
        """
        limit_s = self.server.timeout
        try:
            async with asyncio.timeout(limit_s + 1):  # the call's own time-out says more, but counts each read anew
                return await thread.run(lambda: self._called(path, body, headers, what))
        except TimeoutError:
            raise TransientFetchError(f"{self.server.address}: {what}: not done within {limit_s:g} s") from None

    def _called(self, path: str, body: Mapping[str, Any], headers: Mapping[str, str | Secret], what: str) -> Reply:
        import requests  # noqa: PLC0415  # late: only who uses such a source pays for it

        try:
            answer = self._shared().post(
                self.server.address + path,
                json=body,
                headers={name: _plain(value) for name, value in headers.items()},
                timeout=(min(_CONNECT_S, self.server.timeout), self.server.timeout),
                allow_redirects=False,  # the key and the secret in `body` would go along
            )
        except requests.RequestException as error:
            self._forget()
            raise self._translated(error, what) from None
        return Reply(answer.status_code, _json(answer), _date(answer))

    def _translated(self, error: Exception, what: str) -> FetchError:
        from broker.sources.web.transport import Busy  # noqa: PLC0415  # see `_called`
        from broker.sources.web.unreached import may_be_sent, unreached  # noqa: PLC0415  # see `_called`

        if isinstance(error, Busy):
            return TransientFetchError(
                f"{self.server.address}: {what}: asked too often, or not ready (status {error.status})",
                retry_after_s=error.retry_after_s,
            )
        failure = TransientFetchError if may_be_sent(error) else NotSent
        return failure(f"{self.server.address}: {what}: {unreached(error, self.server)}")

    def _forget(self) -> None:
        """Read the certificates' files again, and connect anew, at the next call."""
        with self._guard:
            self._transport = None

    def _warmed(self) -> None:
        with suppress(Exception):  # such as a certificate's file that is missing
            self._shared()

    def _shared(self) -> Transport:
        from broker.sources.web.transport import Transport  # noqa: PLC0415  # see `_called`

        with self._guard:
            if self._transport is None:
                self._transport = Transport(self.server)
            return self._transport


def bearer(token: Secret) -> Secret:
    """Make the value of an `Authorization` header."""
    return Secret(f"Bearer {token.reveal()}")


def _plain(value: str | Secret) -> str:
    return value.reveal() if isinstance(value, Secret) else value


def _json(answer: Response) -> Any:  # noqa: ANN401  # JSON
    try:
        return json.loads(answer.content)
    except (ValueError, RecursionError):
        return None


def _date(answer: Response) -> float | None:
    try:
        return parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (KeyError, ValueError, OverflowError):
        return None
