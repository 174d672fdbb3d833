"""A company's OpenBao, set up by its administrator: engines, policies and ways to sign in."""

from __future__ import annotations

import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from broker.secret import Secret
from broker.sources.interface import Context
from tests.fakes.context import FakeContext, FakeSecrets
from tests.real.openbao import ROOT_TOKEN, OpenBao, openbao
from tests.real.ports import free_port
from tests.real.process import pause

ROLE_ID: Final = "fake-role-id"
SECRET_ID: Final = "fake-secret-id"
READ: Final = ("read",)
ENVIRONMENT: Final = {"SECRET_ID": SECRET_ID}
"""What a daemon with the config of `configured` needs."""
KEPT: Final = ('path = "secret/claude"',)
LEASED: Final = ('path = "database/creds/reader"', 'field = "password"')
"""Lines of a credential: a stored key, and a lent password."""


class Refusal(AssertionError):
    """The server refused what the administrator wants."""


@dataclass
class Company:
    """The server, and what its administrator does there."""

    home: Path
    config: Path | None = None
    port: int = field(default_factory=free_port)
    _running: ExitStack = field(default_factory=ExitStack)
    _server: OpenBao | None = None

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def server(self) -> OpenBao:
        """The running server."""
        assert self._server is not None
        return self._server

    def start(self) -> None:
        """Start it, empty."""
        self._server = self._running.enter_context(openbao(self.home, port=self.port, config=self.config))

    def stop(self) -> None:
        """Take it down: what it kept is lost."""
        self._running.close()
        self._server = None

    def pause(self) -> None:
        """Let it answer nothing."""
        pause(self.server.process.pid)

    def resume(self) -> None:
        """Let it answer again."""
        os.kill(self.server.process.pid, signal.SIGCONT)

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        token: str = ROOT_TOKEN,
        wrap: str | None = None,
    ) -> dict[str, Any]:
        """Make one call of the API; the administrator's, if no other token is given."""
        request = urllib.request.Request(f"{self.address}/v1/{path}", method=method)  # noqa: S310  # the loopback
        request.add_header("X-Vault-Token", token)
        if wrap is not None:
            request.add_header("X-Vault-Wrap-TTL", wrap)
        try:
            content = None if body is None else json.dumps(body).encode()
            with urllib.request.urlopen(request, content, timeout=30) as answer:  # noqa: S310  # the loopback
                read = answer.read()
        except urllib.error.HTTPError as error:
            raise Refusal(f"{method} {path}: {error.code} {error.read().decode()}") from None
        return json.loads(read) if read else {}

    def post(self, path: str, **body: Any) -> dict[str, Any]:  # noqa: ANN401  # JSON
        """Write something."""
        return self.call("POST", path, body)

    def put(self, name: str, **fields: str) -> None:
        """Store a secret in KV v2."""
        self.post(f"secret/data/{name}", data=fields)

    def allow(self, paths: Mapping[str, Sequence[str]]) -> None:
        """Say what the policy `claude` gives access to."""
        rules = [f'path "{path}" {{ capabilities = {json.dumps(list(able))} }}' for path, able in paths.items()]
        self.post("sys/policies/acl/claude", policy="\n".join(rules))

    def enable(self, kind: str, path: str | None = None) -> None:
        """Mount an auth method."""
        self.post(f"sys/auth/{path or kind}", type=kind)

    def mount(self, kind: str, path: str, **options: str) -> None:
        """Mount a secrets engine."""
        self.post(f"sys/mounts/{path}", type=kind, options=options)

    def approle(self, **role: Any) -> None:  # noqa: ANN401  # JSON
        """Have a role with the policy `claude` and a secret_id that tests know."""
        self.enable("approle")
        self.post("auth/approle/role/claude", token_policies=["claude"], **role)
        self.post("auth/approle/role/claude/role-id", role_id=ROLE_ID)
        self.post("auth/approle/role/claude/custom-secret-id", secret_id=SECRET_ID)

    def revoke_logins(self) -> None:
        """Revoke every token that a sign-in by approle gave."""
        self.post("sys/leases/revoke-prefix/auth/approle/login")

    def logins(self) -> int:
        """Count the tokens that are alive, the administrator's own left out."""
        return len(self.call("LIST", "auth/token/accessors")["data"]["keys"]) - 1


@contextmanager
def company(home: Path, config: Path | None = None) -> Iterator[Company]:
    """Run one until the block ends."""
    made = Company(home, config)
    made.start()
    try:
        yield made
    finally:
        if made._server is not None:
            made.resume()
        made.stop()


def configured(address: str, *credential: str) -> str:
    """Write our config for the server at `address`, signed in to by approle; with a credential `work` of these lines."""
    auth = f'{{ method = "approle", role_id = "{ROLE_ID}", secret_id = {{ env = "SECRET_ID" }} }}'
    source = ["[sources.corp]", 'type = "vault"', f'address = "{address}"', f"auth = {auth}"]
    work = ["[credentials.work]", 'source = "corp"', *credential] if credential else []
    return "\n".join([*source, *work, ""])


def pocket(**secrets: str) -> Context:
    """Give what a daemon lends to a source: these stored secrets."""
    return FakeContext(FakeSecrets({name: Secret(text) for name, text in secrets.items()}))
