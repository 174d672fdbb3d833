"""`POST /v1/audit/verify`: what the audit trail's key can prove of it, which only the daemon holds while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict
from typing import Final

from aiohttp import web

from broker.errors import StorageError
from broker.storage.audit import Verdict

WITHIN_S: Final = 30.0
"""The trail is a few MiB, read in a tenth of a second: a disk that takes longer hangs."""


def add_route(app: web.Application, verify: Callable[[], Future[Verdict]]) -> None:
    """Serve the call from `verify`, one check after the other."""

    async def answer(_request: web.Request) -> web.Response:
        try:
            verdict = await asyncio.wait_for(asyncio.wrap_future(verify()), WITHIN_S)
        except TimeoutError as error:
            message = "the disk of the audit trail does not answer; see: broker status"
            raise StorageError(message) from error
        return web.json_response({"intact": verdict.intact, **asdict(verdict)})

    app.router.add_post("/v1/audit/verify", answer)
