"""`bao proxy` with its cache on, before a real OpenBao: the daemon that developers would run otherwise.

It is read in the two ways that a key can lie there:

- `forwarded`: a key-value engine, the usual home of a key. OpenBao's proxy caches only responses that carry a lease,
  so each read goes on to the server, cache or not.
- `cached`: a key-value engine that issues leases (its option `leased_passthrough`). These reads the cache answers; the
  proxy marks them with `X-Cache: HIT`, and the load client takes no other answer.

Either read is a GET with an answer of about our size; the proxy adds the token by itself (auto-auth).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.load import Load, Target
from tests.bench.place import MissingProgram
from tests.real.openbao import BAO, ROOT_TOKEN, attendant, openbao
from tests.real.process import wait_until

_KEY: Final = "fake-token-1"
_CONFIG: Final = """
vault {{ address = "{address}" }}
cache {{ }}
api_proxy {{ use_auto_auth_token = true }}
auto_auth {{ method "token_file" {{ config = {{ token_file_path = "{token_file}" }} }} }}
listener "unix" {{ address = "{socket}" tls_disable = true }}
log_level = "error"
"""


@dataclass(frozen=True, slots=True)
class Proxied:
    """The same key, read in two ways."""

    forwarded: Target
    cached: Target


@contextmanager
def bao_proxy(folder: Path, load: Load) -> Iterator[Proxied]:
    """Run server and proxy for as long as the block lasts; give the reads.

    The cache tells requests apart by their headers too, so it is `load` that has to fill it.
    """
    if not BAO.exists():
        raise MissingProgram(f"{BAO} is missing: install the project's `test` extra into this Python's environment")
    with openbao(folder) as server:
        enabled = server.run("secrets", "enable", "-path=leased", "-options=leased_passthrough=true", "kv")
        assert enabled.returncode == 0, enabled.stderr
        server.put("secret/claude", api_key=_KEY)
        server.put("leased/claude", api_key=_KEY, ttl="12h")
        with _proxy(folder, server.env["BAO_ADDR"]) as socket:
            forwarded = Target(socket, ["/v1/secret/data/claude"], _KEY)
            cached = Target(socket, ["/v1/leased/claude"], "X-Cache: HIT")
            wait_until(lambda: load.is_answered(forwarded), "the proxy answers")
            wait_until(lambda: load.is_answered(cached), "the proxy answers from its cache")
            yield Proxied(forwarded, cached)


@contextmanager
def _proxy(folder: Path, address: str) -> Iterator[Path]:
    socket, token_file, config = folder / "proxy.sock", folder / "token", folder / "proxy.hcl"
    token_file.write_text(ROOT_TOKEN)
    config.write_text(_CONFIG.format(address=address, token_file=token_file, socket=socket))
    with attendant("proxy", config):
        yield socket
