"""Serves a stand-in on a free port of the loopback while a test runs."""

from __future__ import annotations

import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401  # the base class's own
        """Say nothing of callers that left, as they like to; but print a mistake of the stand-in's own."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


@contextmanager
def in_background(
    handler: type[BaseHTTPRequestHandler], gate: threading.Event | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[str]:
    """Serve until the block ends, over `tls` if given; give the address. `gate`: holds answers back while it is clear."""
    gate = gate or threading.Event()
    gate.set()
    with _Server(("127.0.0.1", 0), handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_address[1]}"
        finally:
            gate.set()
            server.shutdown()
            thread.join()
