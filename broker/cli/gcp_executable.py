"""`broker export NAME --format gcp-executable`: what Google's clients run for an external account's subject token.

Contract: https://google.aip.dev/auth/4117. They read stdout and stderr as one, and show nothing of an executable that
ends with another exit code than 0: so an error, too, is JSON on stdout, and stderr stays empty.
"""

from __future__ import annotations

import json

from broker import paths
from broker.background import with_daemon
from broker.client import Client
from broker.errors import BrokerError

NAME = "gcp-executable"


def answer(credential: str) -> str:
    """Return the one line to print."""
    try:
        printed = with_daemon(Client(paths.socket_path()), lambda client: client.subject_token(credential))
    except BrokerError as error:
        printed = {"version": 1, "success": False, "code": error.code, "message": str(error)}
    return json.dumps(printed)
