"""A daemon started as carelessly as can be: open umask, core dumps on, secrets in its environment, a file left open."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.hygiene import witness
from tests.real.installed import BROKER, Daemon, a_place, running
from tests.real.process import wait_until

SECRETS: Final = {
    name: f"fake-planted-{name.lower()}"
    for name in (
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "VAULT_TOKEN", "BAO_TOKEN"),
        *("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "GITHUB_TOKEN", "GOOGLE_APPLICATION_CREDENTIALS"),
        *("OP_SESSION_work", "CLAUDECODE", "MY_PASSWORD"),
    )
}
STEERING: Final = dict.fromkeys(
    ("LD_LIBRARY_PATH", "PYTHONPATH", "NODE_OPTIONS", "BASH_ENV", "ENV", "PERL5LIB", "GIT_CONFIG_GLOBAL"),
    "/nonexistent/fake-planted",
)

CARELESS: Final = (
    "/bin/sh",
    "-c",
    'umask 0; ulimit -c "$(ulimit -Hc)"; exec 9</etc/passwd; exec "$0" run',
    str(BROKER),
)


@pytest.fixture(scope="module")
def careless() -> Iterator[Daemon]:
    """Run it, with a key for what it keeps at rest, and a credential whose command tells how it was run."""
    with a_place() as place:
        argv = [sys.executable, "-I", "-S", str(Path(witness.__file__)), str(place.folder / "facts")]
        place.configure(f'[credentials.work]\nsource = "command"\nargv = {json.dumps(argv)}\n')
        key = place.folder / "credentials" / "broker-cache-key"
        key.parent.mkdir(mode=0o700)
        key.write_bytes(b"fake-key-material" * 2)
        key.chmod(0o600)
        env = {"CREDENTIALS_DIRECTORY": str(key.parent)}
        with running(place, env=SECRETS | STEERING | env, command=CARELESS) as daemon:
            assert place.call("GET", "/v1/token") == (200, b"fake-token-1")
            wait_until((place.folder / "state" / "cache.bin").exists, "the token is kept at rest")
            yield daemon


@pytest.fixture(scope="module")
def seen(careless: Daemon) -> dict[str, Any]:
    """Tell what the command saw."""
    facts: dict[str, Any] = json.loads((careless.place.folder / "facts").read_text())
    return facts
