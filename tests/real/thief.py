"""Somebody who would like to have a token: a server and proxy that takes every request and notes whether one came.

Of a CONNECT it pretends to be the server, under a certificate of its own authority.
"""

from __future__ import annotations

import datetime as dt
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.fakes.in_background import in_background


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority of the thief's, and a certificate of it for one host; PEM."""

    root: str
    context: ssl.SSLContext

    @classmethod
    def for_host(cls, host: str, folder: Path) -> Self:
        """Make both; `folder` gets the host's key, since `ssl` reads nothing but files."""
        key, host_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        root = _certificate("thief's authority", key.public_key(), key, None)
        leaf = _certificate("thief", host_key.public_key(), key, host)
        secret = host_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        pem = folder / "thief.pem"
        pem.write_bytes(secret + leaf.public_bytes(Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        return cls(root.public_bytes(Encoding.PEM).decode(), context)


def _certificate(
    name: str, public: ec.EllipticCurvePublicKey, signer: ec.EllipticCurvePrivateKey, host: str | None
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "thief's authority")]))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=host is None, path_length=None), critical=True)
    )
    if host is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
    return builder.sign(signer, hashes.SHA256())


@dataclass(slots=True)
class Thief:
    """The running server. `has_it` is set once `token` came along, in a request's line, headers or body."""

    token: str
    authority: Authority
    url: str = ""
    has_it: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def lurking(self) -> Iterator[Self]:
        """Serve on a free port of the loopback until the block ends."""
        with in_background(type("Handler", (_Handler,), {"thief": self})) as self.url:
            yield self


class _Handler(BaseHTTPRequestHandler):
    thief: Thief
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Discovery, mostly."""
        self._take()

    def do_HEAD(self) -> None:
        """Claude Code looks whether the host is there."""
        self._take()

    def do_POST(self) -> None:
        """A prompt, with the token that it is asked with."""
        self._take()

    def do_CONNECT(self) -> None:
        """Let the tunnel end right here."""
        self.send_response(HTTPStatus.OK)
        self.end_headers()
        self.close_connection = True
        with (
            suppress(OSError),  # who checks certificates hangs up
            self.thief.authority.context.wrap_socket(self.connection, server_side=True) as tunnel,
        ):
            self.rfile, self.wfile = tunnel.makefile("rb"), tunnel.makefile("wb")
            self.raw_requestline = self.rfile.readline(65_537)
            if self.parse_request():
                self._take()
                self.wfile.flush()

    def _take(self) -> None:
        """Look through a request, and refuse it in a way that nobody tries again."""
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.thief.token in f"{self.requestline}{self.headers}{body.decode(errors='replace')}":
            self.thief.has_it.set()
        status = HTTPStatus.OK if self.command == "HEAD" else HTTPStatus.BAD_REQUEST
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is the base class's
        """Keep the test's output quiet."""
