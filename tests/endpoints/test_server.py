"""What the server loads, and what it leaves alone."""

from __future__ import annotations

import os
import subprocess
import sys

CHECK = """
import os
before = dict(os.environ)
import broker.endpoints
from aiohttp import connector
print(connector._SSL_CONTEXT_VERIFIED.cert_store_stats()["x509_ca"], os.environ == before)
"""


def test_the_daemon_loads_no_certificates_that_it_never_uses() -> None:
    """They would cost every daemon 2 MB and a sixth of its start; the environment is as it was afterwards."""
    env = {"PATH": os.environ["PATH"], "SSL_CERT_FILE": "/nonexistent/mine.pem"}
    done = subprocess.run([sys.executable, "-c", CHECK], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "True"]


def test_the_check_can_tell() -> None:
    """Without our loading, aiohttp would have read this machine's certificates, where it has any."""
    plain = CHECK.replace("import broker.endpoints", "import aiohttp")
    env = {"PATH": os.environ["PATH"]}
    done = subprocess.run([sys.executable, "-c", plain], env=env, capture_output=True, text=True, check=True)
    known = subprocess.run(
        [sys.executable, "-c", "import ssl; print(ssl.create_default_context().cert_store_stats()['x509_ca'])"],
        env=env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split()[0] == known.stdout.strip()
