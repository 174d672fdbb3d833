"""The daemon's ends: `control/` is the socket, for helpers and people; each other face is a file of its own."""

from __future__ import annotations

import os
from typing import Final

_TRUST: Final = {"SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": os.devnull}


def _load_aiohttp() -> None:
    """Import aiohttp without its client's certificates.

    Its client half reads every CA certificate of the machine when it is imported: 2 MB of memory and a sixth of the
    daemon's start, for connections that the faces never make. Whoever uses `aiohttp.ClientSession` in this process
    has to give it an `ssl.SSLContext` of its own: with the default one no certificate is trusted.
    """
    before = {name: os.environ.get(name) for name in _TRUST}
    os.environ.update(_TRUST)
    try:
        import aiohttp  # noqa: F401, PLC0415  # for its effect on the modules that import it after us
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


_load_aiohttp()
