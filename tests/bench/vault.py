"""A daemon of ours beside `bao agent`, both set up for the same lease of the same real OpenBao.

Both sign in by approle and keep a database user of PostgreSQL's alive, whose leases are short; the agent renders it
into a file, as a helper script would read it. A proxy before the server counts what each asks for.
"""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.bench.figure import Figure, show
from tests.bench.memory import Resident
from tests.bench.place import MissingProgram, daemon_process
from tests.fakes.in_background import in_background
from tests.real import postgres
from tests.real.company import ENVIRONMENT, LEASED, ROLE_ID, SECRET_ID, Company, company, configured
from tests.real.openbao import BAO, attendant
from tests.real.postgres import ADMIN, PASSWORD, Postgres
from tests.real.process import wait_until

LASTING_S: Final = 600.0
TTL: Final = "20s"
MAX_TTL: Final = "60s"
_CREATE: Final = "CREATE ROLE \"{{name}}\" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}';"
_AGENT: Final = """
vault {{ address = "{address}" }}
auto_auth {{
  method "approle" {{
    config = {{
      role_id_file_path = "{folder}/role"
      secret_id_file_path = "{folder}/secret"
      remove_secret_id_file_after_reading = false
    }}
  }}
}}
template {{
  contents = "{{{{ with secret \\"database/creds/reader\\" }}}}{{{{ .Data.password }}}}{{{{ end }}}}"
  destination = "{folder}/token"
}}
log_level = "error"
"""


@dataclass(slots=True)
class Counter:
    """How often the server was asked through it."""

    target: str
    address: str = ""
    calls: list[str] = field(default_factory=list)


def figures(lasting_s: float = LASTING_S) -> list[Figure]:
    """Run both for so long."""
    at = postgres.programs()
    if not BAO.exists() or at is None:
        raise MissingProgram("OpenBao (the `test` extra) or PostgreSQL (Debian's package) is missing")
    with ExitStack() as stack:
        database = stack.enter_context(postgres.postgres(at))
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="bench-")))
        server = stack.enter_context(company(folder))
        _set_up(server, database)
        ours, theirs = (stack.enter_context(_counting(server.address)) for _ in range(2))
        their_first_s, agent = stack.enter_context(_agent(folder, theirs.address))
        began = time.monotonic()
        toml = configured(ours.address, *LEASED, 'min_validity = "1s"')
        daemon = stack.enter_context(daemon_process(toml, ENVIRONMENT))
        assert daemon.place.call("GET", "/v1/token?ttl_ms=1000")[0] == 200
        our_first_s = time.monotonic() - began
        time.sleep(lasting_s)  # the subject of the measurement
        ours_mb, theirs_mb = Resident.of(daemon.process.pid).whole, Resident.of(agent.pid).whole
        return [
            _compared("from start to the first token", our_first_s, their_first_s, "s", limit=None),
            _compared(f"calls in {lasting_s:.0f} s of {TTL} leases", len(ours.calls), len(theirs.calls), "calls"),
            _compared("resident afterwards", ours_mb, theirs_mb, "MB"),
        ]


def _compared(what: str, ours: float, theirs: float, unit: str, limit: float | None = 1.0) -> Figure:
    return Figure(f"{what}, of bao agent's", ours / theirs, limit, detail=f"{ours:.2f} and {theirs:.2f} {unit}")


def _set_up(server: Company, database: Postgres) -> None:
    server.approle(token_ttl="60s", token_max_ttl="1h")
    server.allow({"database/creds/reader": ["read"]})
    server.mount("database", "database")
    server.post(
        "database/config/db",
        plugin_name="postgresql-database-plugin",
        allowed_roles=["reader"],
        connection_url=f"postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{database.port}/postgres?sslmode=disable",
        username=ADMIN,
        password=PASSWORD,
    )
    server.post("database/roles/reader", db_name="db", creation_statements=[_CREATE], default_ttl=TTL, max_ttl=MAX_TTL)


@contextmanager
def _agent(folder: Path, address: str) -> Iterator[tuple[float, subprocess.Popen[str]]]:
    """Run the agent; give how long its first token took."""
    (folder / "role").write_text(ROLE_ID)
    (folder / "secret").write_text(SECRET_ID)
    config = folder / "agent.hcl"
    config.write_text(_AGENT.format(address=address, folder=folder))
    began = time.monotonic()
    with attendant("agent", config) as process:
        wait_until((folder / "token").exists, "the agent renders the password", poll_s=0.002)
        yield time.monotonic() - began, process


@contextmanager
def _counting(target: str) -> Iterator[Counter]:
    counter = Counter(target)
    handler = type("Handler", (_Forwarding,), {"counter": counter})
    with in_background(handler) as counter.address:
        yield counter


class _Forwarding(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65_536
    counter: Counter

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.counter.calls.append(f"{self.command} {self.path}")
        request = urllib.request.Request(f"{self.counter.target}{self.path}", body or None, method=self.command)  # noqa: S310  # the loopback
        for name, value in self.headers.items():
            if name.lower().startswith("x-vault") or name.lower() == "content-type":
                request.add_header(name, value)
        try:
            with urllib.request.urlopen(request) as answer:  # noqa: S310  # the loopback
                self._reply(answer.status, answer.read())
        except urllib.error.HTTPError as error:
            self._reply(error.code, error.read())

    do_GET = do_POST = do_PUT = _forward  # noqa: N815  # http.server's names

    def _reply(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    sys.exit(show(figures(float(sys.argv[1]) if len(sys.argv) > 1 else LASTING_S)))
