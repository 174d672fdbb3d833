"""A proxy that leads one host of the internet to a local server: for programs whose upstream cannot be set.

They are told of it by HTTPS_PROXY, and of its certificate authority by SSL_CERT_FILE.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import urlsplit

import trustme

from tests.fakes.in_background import in_background


@contextmanager
def tunnel(host: str, target: str, folder: Path) -> Iterator[dict[str, str]]:
    """Lead `https://HOST` to `target` until the block ends, any other host nowhere; give the variables that say so."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    certificates = folder / "tunnel-ca.pem"
    authority.cert_pem.write_to_path(certificates)
    url = urlsplit(target)
    own = {"host": host, "target": (url.hostname, url.port), "context": context}
    made = type("Handler", (_Handler,), own)
    with in_background(made) as proxy:
        yield {"HTTPS_PROXY": proxy, "NO_PROXY": "127.0.0.1,localhost", "SSL_CERT_FILE": str(certificates)}


class _Handler(BaseHTTPRequestHandler):
    host: str
    target: tuple[str, int]
    context: ssl.SSLContext
    protocol_version = "HTTP/1.1"

    def do_CONNECT(self) -> None:
        """Answer for the host, and pass on what is said inside."""
        if self.path != f"{self.host}:443":
            self.send_error(403)
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.flush()
        self.close_connection = True
        with suppress(OSError), self.context.wrap_socket(self.connection, server_side=True) as inside:
            _join(inside, self.target)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is the base class's
        """Keep the test's output quiet."""


def _join(inside: ssl.SSLSocket, target: tuple[str, int]) -> None:
    """Copy both ways until either end closes; in one thread, as a TLS connection is not for two."""
    with closing(socket.create_connection(target)) as outside:
        other: dict[socket.socket, socket.socket] = {inside: outside, outside: inside}
        while True:
            ready = [inside] if inside.pending() else select.select(list(other), [], [])[0]
            for one in ready:
                if not (piece := one.recv(65_536)):
                    return
                other[one].sendall(piece)
