"""A helper's ask, understood and answered without the server's library.

It is what every session of Claude Code waits for, and aiohttp takes more than half of its time. So the one request
that helpers write (helper/request.c, helper/broker_request.py) is recognised here, by a single strict pattern, with
or without each of its parts. What differs from it in one byte is left to aiohttp, which knows all of HTTP: nothing is
read in two ways.
"""

from __future__ import annotations

import logging
import re
from typing import Final

from aiohttp import web

from broker.endpoints.answers import BUG, Answer, of_error
from broker.endpoints.control import surroundings, tokens
from broker.endpoints.control.arrivals import Arrival
from broker.endpoints.control.calls import BROKER
from broker.endpoints.control.middleware import CONNECTIONS, own_peer
from broker.endpoints.server import HEADER_MAX
from broker.errors import BrokerError
from broker.last_answer import last_answer
from broker.model import DEFAULT_TTL_S, Kind
from broker.service.admission import Caller

log = logging.getLogger(__name__)

_ASK: Final = re.compile(
    rb"GET /v1/(?P<what>token|aws)"
    rb"(?:\?"
    rb"(?:credential=(?P<credential>[A-Za-z0-9._~-]{1,256})(?:&|(?= )))?"
    rb"(?:ttl_ms=(?P<ttl>[0-9]{1,18})(?:&|(?= )))?"
    rb"(?:deadline_ms=(?P<deadline>[0-9]{1,18}))?)?"
    rb" HTTP/1\.1\r\nHost: [A-Za-z0-9.-]{1,255}\r\nConnection: close\r\n"
    rb"(?:X-Broker-Cwd: (?P<folder>[!-~]{0,%(most)d})\r\n)?"
    rb"(?:X-Broker-Env: (?P<variables>[!-~]{0,%(most)d})\r\n)?"
    rb"\r\n" % {b"most": HEADER_MAX}
)


def understand(said: bytes) -> re.Match[bytes] | None:
    """Recognise a helper's ask, whole; None where it is another request, or not yet all of it."""
    return _ASK.fullmatch(said)


class HelperAsks:
    """Answers helpers in the name of `app`, whose calls they would be otherwise."""

    def __init__(self, app: web.Application) -> None:
        self._app = app
        self._broker = app[BROKER]

    def understand(self, said: bytes) -> re.Match[bytes] | None:
        """Recognise a helper's ask, whole."""
        return understand(said)

    async def answer(self, arrival: Arrival, ask: re.Match[bytes]) -> bytes:
        """Answer it, whatever happens. Raises `ConnectionError` where the client left."""
        connections = self._app[CONNECTIONS][0]
        connections.began(arrival)
        try:
            answer = await self._given(arrival, ask)
        except BrokerError as error:
            answer = of_error(error)
        except ConnectionError:
            raise  # the client left; there is nobody to tell
        except Exception:  # noqa: BLE001  # the last line of defence: a bug is told by its code alone, details may be secret
            log.error("a bug while answering a helper")  # noqa: TRY400  # as above
            answer = of_error(BrokerError(BUG))
        finally:
            connections.ended(arrival, stays_open=False)
        return last_answer(answer.status, answer.headers, answer.body)

    async def _given(self, arrival: Arrival, ask: re.Match[bytes]) -> Answer:
        what, credential, ttl_ms, deadline_ms, folder, variables = (
            None if part is None else part.decode() for part in ask.groups()
        )
        peer = own_peer(self._app, arrival.socket)
        told = surroundings.read(folder, variables)
        deadline_s = (
            tokens.DEFAULT_DEADLINE_S if deadline_ms is None else min(int(deadline_ms) / 1000, tokens.DEADLINE_MAX_S)
        )
        if what == "aws":
            return await tokens.aws_keys(self._broker, credential, deadline_s, Caller(peer, told, Kind.AWS_SESSION))
        ttl_s = DEFAULT_TTL_S if ttl_ms is None else int(ttl_ms) / 1000
        return await tokens.token(self._broker, credential, ttl_s, deadline_s, Caller(peer, told))
