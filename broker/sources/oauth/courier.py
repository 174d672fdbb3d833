"""The child process that makes one request and seals its answer into a file: see `flight`.

The job is JSON on stdin, the file is stdout. It outlives the daemon; nobody but itself ends it.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from typing import Any, Final

from broker import platform
from broker.errors import FetchError, TransientFetchError
from broker.sources.oauth.flight import LONGEST
from broker.sources.web.server import Server

_JOB_MAX: Final = 1 << 20
_RESERVED: Final = 64 * 1024
WHAT: Final = "refresh our token"


def main() -> None:
    """Do one job."""
    platform.current().harden()  # while it lives, tokens are in its memory
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    try:
        job = json.loads(sys.stdin.buffer.read(_JOB_MAX))
    except ValueError:
        return  # the daemon ended while it wrote: nothing was sent
    signal.alarm(math.ceil(LONGEST * job["server"]["timeout"]) + 1)
    work(job, sys.stdout.fileno())


def work(job: dict[str, Any], answer: int) -> None:
    """Make the request of the job; write first that it is being sent, then what came of it."""
    from broker.sources.oauth import errors, seal  # noqa: F401, PLC0415  # all that can fail, before anything is sent

    with os.fdopen(answer, "wb", buffering=0, closefd=False) as file:
        _reserve(answer)
        file.write(f"{job['mark']}\n".encode())
        file.write(seal.sealed(ask(Server(**job["server"]), job["request"]), job["key"]))
        file.truncate()
        os.fsync(answer)


def _reserve(answer: int) -> None:
    """On a full disk fail here: afterwards the answer would be lost."""
    if sys.platform == "linux":
        os.posix_fallocate(answer, 0, _RESERVED)


def ask(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Send it; return the answer, or in our words why there is none."""
    from broker.sources.oauth.errors import translated  # noqa: PLC0415  # see `work`
    from broker.sources.oauth.transport import ProviderTransport  # noqa: PLC0415  # see `work`

    try:
        answer = ProviderTransport(server).request(
            "POST", request["url"], data=request["body"], headers=request["headers"]
        )
    except Exception as error:  # noqa: BLE001  # whatever the library raises
        return _failed(translated(error, server, WHAT))
    # JSON is UTF-8 (RFC 8259, 8.1), whatever the answer calls it: by a wrong name the successor would be lost.
    return {"status": answer.status_code, "body": answer.content.decode("utf-8", "replace")}


def _failed(failure: FetchError) -> dict[str, Any]:
    transient = isinstance(failure, TransientFetchError)
    retry_after_s = failure.retry_after_s if isinstance(failure, TransientFetchError) else None
    return {"failed": str(failure), "transient": transient, "retry_after_s": retry_after_s}


if __name__ == "__main__":
    main()
