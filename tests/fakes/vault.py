"""As much of a Vault server as tests of the source need, over real HTTP, in threads of this process.

Unlike a real one it takes lifetimes of fractions of a second, hangs when told to, and counts what it is asked.
"""

from __future__ import annotations

import itertools
import json
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

from tests.fakes.in_background import in_background

Reply = tuple[int, dict[str, Any]]

_HANG_MAX_S = 60.0


@dataclass
class FakeVault:
    """`kv`: KV v2 at `secret/`; `old`: KV v1 at `old/`; `lent/X` gives leases, `signed/X` answers writes."""

    kv: dict[str, dict[str, Any]] = field(default_factory=dict)
    old: dict[str, dict[str, Any]] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    leases: dict[str, str] = field(default_factory=dict)
    token_s: float = 3600.0
    token_renewable: bool = True
    renewed_s: float | None = None
    lease_s: float = 3600.0
    lease_renewable: bool = True
    lease_renewed_s: float | None = None
    proof: dict[str, Any] = field(default_factory=lambda: {"secret_id": "fake-secret-id"})
    calls: Counter[str] = field(default_factory=Counter)
    bodies: dict[str, Any] = field(default_factory=dict)
    queries: dict[str, dict[str, str]] = field(default_factory=dict)
    invitation: str = "https://login.example/authorize?state=fake-state&nonce=fake-nonce"
    headers: dict[str, str] = field(default_factory=dict)
    answer: Callable[[str, str], Reply | None] = lambda _method, _path: None
    extra_headers: dict[str, str] = field(default_factory=dict)
    gate: threading.Event = field(default_factory=threading.Event)
    address: str = ""
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def handle(self, method: str, path: str, token: str, body: Any) -> Reply:  # noqa: ANN401  # JSON
        """Answer one call."""
        place = path.partition("?")[0]
        self.calls[place] += 1
        self.bodies[place] = body
        self.queries[place] = dict(parse_qsl(urlsplit(path).query))
        self.gate.wait(_HANG_MAX_S)
        if (scripted := self.answer(method, place)) is not None:
            return scripted
        if place.startswith("auth/") and not place.startswith("auth/token/"):
            return self._sign_in(place, body)
        if token not in self.tokens:
            return 403, {"errors": ["permission denied"]}
        return self._served(place, parse_qs(urlsplit(path).query), token, body)

    def forget_tokens(self) -> None:
        """As after a restart, or a revocation by the administrator."""
        self.tokens.clear()
        self.leases.clear()

    def _sign_in(self, place: str, body: dict[str, Any]) -> Reply:
        if place.endswith("/oidc/auth_url"):
            return 200, {"data": {"auth_url": self.invitation}}
        if place.endswith("/oidc/callback"):
            return 200, {"auth": self._token_born()}
        if any(body.get(name) != value for name, value in self.proof.items()):
            return 400, {"errors": ["invalid role or secret ID"]}
        return 200, {"auth": self._token_born()}

    def _token_born(self) -> dict[str, Any]:
        token = f"fake-vault-token-{next(self._numbers)}"
        self.tokens.add(token)
        return {"client_token": token, "lease_duration": self.token_s, "renewable": self.token_renewable}

    def _served(self, place: str, query: dict[str, list[str]], token: str, body: Any) -> Reply:  # noqa: ANN401  # JSON
        first, _, rest = place.partition("/")
        match first:
            case "secret" if rest.removeprefix("data/") in self.kv:
                metadata = {"version": int(query.get("version", ["1"])[0])}
                return 200, {"data": {"data": self.kv[rest.removeprefix("data/")], "metadata": metadata}}
            case "old" if rest in self.old:
                return 200, {"data": self.old[rest], "lease_duration": 2764800, "lease_id": ""}
            case "lent":
                return 200, self._lease(rest, token)
            case "signed":
                return 200, {"data": {"token": f"fake-signed-{next(self._numbers)}", "for": body}}
        own = {"sys": self._system, "auth": self._own_token}.get(first)
        return own(rest, token, body) if own is not None else (404, {"errors": []})

    def _lease(self, name: str, token: str) -> dict[str, Any]:
        number = next(self._numbers)
        self.leases[f"lent/{name}/{number}"] = token
        return {
            "lease_id": f"lent/{name}/{number}",
            "lease_duration": self.lease_s,
            "renewable": self.lease_renewable,
            "data": {"password": f"fake-lent-{number}"},
        }

    def _system(self, rest: str, _token: str, body: Any) -> Reply:  # noqa: ANN401  # JSON
        if rest.startswith("internal/ui/mounts/"):
            mount = rest.removeprefix("internal/ui/mounts/").partition("/")[0]
            kinds = {"secret": ("kv", {"version": "2"}), "old": ("kv", {"version": "1"}), "lent": ("database", None)}
            kind, options = kinds.get(mount, ("other", None))
            return 200, {"data": {"path": f"{mount}/", "type": kind, "options": options}}
        lease_id = (body or {}).get("lease_id")
        if lease_id not in self.leases:
            return 400, {"errors": ["lease not found"]}
        if rest == "leases/revoke":
            del self.leases[lease_id]
            return 204, {}
        duration_s = self.lease_s if self.lease_renewed_s is None else self.lease_renewed_s
        return 200, {"lease_id": lease_id, "lease_duration": duration_s, "renewable": True}

    def _own_token(self, rest: str, token: str, _body: Any) -> Reply:  # noqa: ANN401  # JSON
        if rest == "token/revoke-self":
            self.tokens.discard(token)
            self.leases = {lease: owner for lease, owner in self.leases.items() if owner != token}
            return 204, {}
        if rest == "token/lookup-self":
            return 200, {"data": {"ttl": self.token_s, "renewable": self.token_renewable}}
        duration_s = self.token_s if self.renewed_s is None else self.renewed_s
        return 200, {"auth": {"client_token": token, "lease_duration": duration_s, "renewable": True}}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65_536  # one packet an answer: the second of two would wait for the first to be confirmed
    vault: FakeVault

    def _handle(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        vault = self.vault
        vault.headers = dict(self.headers)
        path = self.path.removeprefix("/v1/")
        status, body = vault.handle(
            self.command, path, self.headers.get("X-Vault-Token", ""), json.loads(raw or "null")
        )
        content = b"" if status == 204 else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        for name, value in vault.extra_headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = _handle  # noqa: N815  # http.server's names

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@contextmanager
def fake_vault(tls: ssl.SSLContext | None = None) -> Iterator[FakeVault]:
    """Run one on a free port of the loopback until the block ends, over `tls` if given."""
    vault = FakeVault()
    handler = type("Handler", (_Handler,), {"vault": vault})
    with in_background(handler, vault.gate, tls) as vault.address:
        yield vault
