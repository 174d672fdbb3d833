"""How the control socket and every other face speak HTTP."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from broker.endpoints.connections import IDLE_MAX_S

HEADER_MAX: Final = 20 * 1024
"""What a helper says of its surroundings may be 16 KiB: `VARIABLES_MAX` in helper/broker_helper.h."""


def runner(app: web.Application) -> web.AppRunner:
    """Return what turns connections into calls of `app`; `Connections` accepts them."""
    return web.AppRunner(
        app,
        access_log=None,
        handler_cancellation=True,
        tcp_keepalive=False,  # both ends are on this machine
        keepalive_timeout=IDLE_MAX_S,
        shutdown_timeout=1,
        lingering_time=1,
        max_field_size=HEADER_MAX,
    )
