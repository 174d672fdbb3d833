"""The metadata server: what Google's client libraries on this machine take for that of a Google Cloud machine.

Contract: https://cloud.google.com/compute/docs/metadata/querying-metadata, and what google-auth (Python) and
gcp-metadata (Node) ask. They give an answer three seconds, and ask again after 503.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from aiohttp import web

from broker.endpoints.gcp import exchange
from broker.endpoints.gcp.accounts import Accounts
from broker.endpoints.gcp.look import Look
from broker.endpoints.gcp.tree import Misplaced, Missing
from broker.endpoints.gcp.waiting import Wait, Waiters
from broker.endpoints.loopback import Variables, caller
from broker.errors import DeadlineExceeded, Refused, SourceFailed
from broker.integrations import gcp_clients
from broker.model import Kind
from broker.service.broker import Broker
from broker.service.consumer_tokens import ConsumerTokens

FLAVOR: Final = "Metadata-Flavor"
GOOGLE: Final = "Google"
_HEADERS: Final = {FLAVOR: GOOGLE, "Server": "Metadata Server for VM"}
"""Clients tell the real one by these; on errors too."""


class MetadataServer:
    """The face of `[endpoints.gcp]`."""

    name: Final = "gcp"

    def __init__(self, broker: Broker, tokens: ConsumerTokens) -> None:
        self._broker = broker
        self._accounts = Accounts(broker)
        self._waiters = Waiters(broker.bus)
        self.exchange = exchange.Exchange(broker, self._accounts, tokens)

    def serves(self, credential: str) -> bool:
        """Whether it is an access token of Google's, or what the config says is served as one."""
        return credential in self._accounts.credentials()

    def routes(self) -> Sequence[web.RouteDef]:
        """Name its calls: whatever path there is, and the exchange."""
        return [web.get("/{path:.*}", self.answer), web.post(exchange.PATH, self.exchange.exchange)]

    def control_routes(self) -> Sequence[web.RouteDef]:
        """Name what it adds to the control socket."""
        return [web.post("/v1/subject-token", self.exchange.subject_token)]

    async def answer(self, request: web.Request) -> web.Response:
        """Show what is at a path: at once, or when it has changed."""
        if request.headers.get(FLAVOR) != GOOGLE:
            # A program that can be made to fetch any address for a stranger sends no header of that one's choice.
            raise Refused(f"expected the header {FLAVOR}: {GOOGLE}, as Google's clients send it")
        asker = await caller(request, Kind.ACCESS_TOKEN)
        wait = Wait.asked(request.query)
        look = Look(self._broker, self._accounts, asker, request.path, request.query)
        try:
            shown = await (look() if wait is None else self._waiters.changed(look, wait))
        except Missing:
            return self.error(404, "not-found", f"{request.path[:200]!r}: there is no such metadata here")
        except Misplaced:
            return _moved(request)
        except DeadlineExceeded as error:
            raise SourceFailed(str(error)) from error  # 504 tells of a gateway; the real one says 503
        headers = {"Content-Type": shown.content_type, "ETag": shown.etag}
        return web.Response(body=shown.body, headers=_HEADERS | headers)

    def error(self, status: int, code: str, message: str) -> web.Response:
        """Write an error as one line: clients show it to their user."""
        return web.Response(status=status, text=f"{message}\n", headers=_HEADERS | {"X-Broker-Error": code})

    @property
    def waiting(self) -> int:
        """How many clients wait for a change."""
        return self._waiters.count

    def variables(self, credential: str, address: str) -> Variables:
        """Say how Google's clients find this server. Raises `BadRequest`, `UnknownCredential`."""
        self._accounts.must_be_default(credential)
        return Variables(gcp_clients.variables(address, self._accounts.known(credential)), gcp_clients.UNWANTED)


def _moved(request: web.Request) -> web.Response:
    """Send on to the same path with a slash at its end."""
    query = request.rel_url.raw_query_string
    place = f"{request.rel_url.raw_path}/" + (f"?{query}" if query else "")
    return web.Response(status=301, headers=_HEADERS | {"Location": place})
